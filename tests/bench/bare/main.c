// The CPU rows without a system: a multiboot kernel that is told on COM1 what to run (rows/harness.h), or by its command line:
//
//     droste -kernel bare.elf -append "run=crc:1000,nbody:200"
//
//   run=NAME:UNITS,...  runs these and switches off
//   pages=4k            maps memory by 4-KiB pages; 2 MiB otherwise
//
// Interrupts are off. With Droste's -icount-ns 1 a tick of the time-stamp counter is an instruction, and the ticks of a row are the
// same in every run.
#include "../rows/harness.h"

extern uint64_t page_directory[512];

static void out(uint16_t port, uint8_t value) {
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static uint8_t in(uint16_t port) {
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void print(const char* text) {
    for (; *text; text++) {
        while ((in(0x3FD) & 0x20) == 0) {
        }
        out(0x3F8, (uint8_t)*text);
    }
}

static int read_line(char* line, unsigned size) {
    unsigned length = 0;
    for (;;) {
        while ((in(0x3FD) & 1) == 0) {
            __asm__ volatile("pause");
        }
        const char c = (char)in(0x3F8);
        if (c == '\n' || c == '\r') {
            line[length] = 0;
            return 1;
        }
        if (length < size - 1) {
            line[length++] = c;
        }
    }
}

// Splits the 2-MiB pages of the first 128 MiB.
static void map_small_pages(void) {
    enum { kTables = 64 };
    static uint64_t tables[kTables][512] __attribute__((aligned(4096)));
    for (uint64_t t = 0; t < kTables; t++) {
        for (uint64_t p = 0; p < 512; p++) {
            tables[t][p] = t << 21 | p << 12 | 3;
        }
        page_directory[t] = (uint64_t)tables[t] | 3;
    }
    uint64_t root;
    __asm__ volatile("movq %%cr3, %0\n\tmovq %0, %%cr3" : "=r"(root) : : "memory");
}

// What follows `name` in a command line's words, or 0.
static const char* word(const char* line, const char* name) {
    while (*line) {
        const char* n = name;
        while (*n && *line == *n) {
            line++;
            n++;
        }
        if (!*n) {
            return line;
        }
        while (*line && *line != ' ') {
            line++;
        }
        while (*line == ' ') {
            line++;
        }
    }
    return 0;
}

// Runs "NAME:UNITS,...".
static void run_list(const char* list, const struct Table* table, const struct Place* place) {
    while (*list && *list != ' ') {
        char line[80];
        unsigned length = 0;
        for (; *list && *list != ' ' && *list != ',' && length < sizeof(line) - 1; list++) {
            line[length++] = *list == ':' ? ' ' : *list;
        }
        line[length] = 0;
        (void)run_command(line, table, 1, place);
        list += *list == ',';
    }
}

void bare_main(const uint32_t* information) {
    out(0x3FB, 0x80);  // 115200 baud, 8 bits
    out(0x3F8, 1);
    out(0x3F9, 0);
    out(0x3FB, 3);
    const char* line = (information[0] & 4) ? (const char*)(uint64_t)information[4] : "";
    if (word(line, "pages=4k")) {
        map_small_pages();
    }
    const struct Table table = {kCpuRows, kCpuRowCount};
    const struct Place place = {read_line, print};
    const char* list = word(line, "run=");
    if (list) {
        run_list(list, &table, &place);
    } else {
        serve(&table, 1, &place);
    }
    while ((in(0x3FD) & 0x40) == 0) {
    }
    __asm__ volatile("outw %0, %1" : : "a"((uint16_t)0x2000), "Nd"((uint16_t)0x604));
}
