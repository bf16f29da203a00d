#include "harness.h"

#include <cpuid.h>

struct Line {
    char text[200];
    unsigned length;
};

static void add_text(struct Line* line, const char* text) {
    while (*text && line->length < sizeof(line->text) - 1) {
        line->text[line->length++] = *text++;
    }
    line->text[line->length] = 0;
}

static void add_number(struct Line* line, uint64_t value, unsigned base) {
    char digits[65];
    unsigned at = sizeof(digits);
    digits[--at] = 0;
    do {
        digits[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    add_text(line, " ");
    add_text(line, digits + at);
}

// What follows `name` and a space in `line`, or 0.
static const char* after_name(const char* line, const char* name) {
    while (*name && *line == *name) {
        line++;
        name++;
    }
    return !*name && *line == ' ' ? line + 1 : 0;
}

// AVX2, and YMM state turned on by the system: SDM Vol. 1, "Detection of AVX2".
static int has_avx2(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & bit_OSXSAVE) == 0) {
        return 0;
    }
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & 6) == 6 && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_AVX2);
}

static uint64_t ticks(void) {
    uint32_t low, high;
    __asm__ volatile("lfence\n\trdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

static void run_row(const struct Row* row, uint64_t units, struct Line* answer, const struct Place* place) {
    if (row->needs == AVX2 && !has_avx2()) {
        add_text(answer, " out this CPU has no AVX2");
        return;
    }
    place->print("<\n");
    const uint64_t begin = ticks();
    const uint64_t sum = row->unit();
    uint64_t other = sum;
    for (uint64_t i = 1; i < units; i++) {
        const uint64_t got = row->unit();
        if (got != sum) {
            other = got;
        }
    }
    const uint64_t took = ticks() - begin;
    place->print(">\n");
    if (other != sum) {
        add_text(answer, " wrong");
        add_number(answer, sum, 16);
        add_number(answer, other, 16);
        return;
    }
    add_number(answer, sum, 16);
    add_number(answer, units * row->operations, 10);
    add_number(answer, took, 10);
}

int run_command(const char* line, const struct Table* tables, unsigned table_count, const struct Place* place) {
    struct Line answer = {.length = 0};
    add_text(&answer, "BENCH ");
    for (unsigned t = 0; t < table_count; t++) {
        for (unsigned i = 0; i < tables[t].count; i++) {
            const struct Row* row = &tables[t].rows[i];
            const char* number = after_name(line, row->name);
            if (!number) {
                continue;
            }
            uint64_t units = 0;
            for (; *number >= '0' && *number <= '9'; number++) {
                units = units * 10 + (uint64_t)(*number - '0');
            }
            add_text(&answer, row->name);
            run_row(row, units, &answer, place);
            add_text(&answer, "\n");
            place->print(answer.text);
            return 1;
        }
    }
    if (line[0] == 'q') {
        return 0;
    }
    for (char name[2] = {0}; *line && *line != ' '; line++) {
        name[0] = *line;
        add_text(&answer, name);
    }
    add_text(&answer, " out there is no such row\n");
    place->print(answer.text);
    return 1;
}

void serve(const struct Table* tables, unsigned table_count, const struct Place* place) {
    char line[80];
    place->print("BENCH userland\n");
    while (place->read_line(line, sizeof(line)) && run_command(line, tables, table_count, place)) {
    }
}
