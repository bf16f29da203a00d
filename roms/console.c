// The console and the end of the run. Level 1 drives the machine's UART; a deeper level writes a whole
// string with one REP OUTSB, which costs one I/O exit, and its parent passes the string on in the same way:
// once a level instead of once a character.
#include "rom.h"

enum { kTransmitterEmpty = 0x20, kLineMax = 200 };

void console_write(const char* text, u64 length) {
    if (level.number > 1) {
        __asm__ volatile("rep outsb" : "+S"(text), "+c"(length) : "d"(kSerialPort) : "memory");
        return;
    }
    for (u64 i = 0; i < length; ++i) {
        while ((in8(kSerialStatusPort) & kTransmitterEmpty) == 0) {
        }
        out8(kSerialPort, (u8)text[i]);
    }
}

struct Line {
    char text[kLineMax];
    u32 length;
};

static void add_char(struct Line* line, char c) {
    if (line->length < kLineMax) {
        line->text[line->length++] = c;
    }
}

static void add_number(struct Line* line, u64 value, u32 base) {
    char digits[20];
    u32 count = 0;
    do {
        digits[count++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    while (count > 0) {
        add_char(line, digits[--count]);
    }
}

static void print_arguments(const char* format, __builtin_va_list arguments) {
    struct Line line;
    line.length = 0;
    for (; *format != 0; ++format) {
        if (*format != '%') {
            if (*format == '\n') {
                add_char(&line, '\r');
            }
            add_char(&line, *format);
            continue;
        }
        ++format;
        if (*format == 'u') {
            add_number(&line, __builtin_va_arg(arguments, u32), 10);
        } else if (*format == 'x') {
            add_number(&line, __builtin_va_arg(arguments, u64), 16);
        } else {
            for (const char* s = __builtin_va_arg(arguments, const char*); *s != 0; ++s) {
                add_char(&line, *s);
            }
        }
    }
    console_write(line.text, line.length);
}

void print(const char* format, ...) {
    __builtin_va_list arguments;
    __builtin_va_start(arguments, format);
    print_arguments(format, arguments);
    __builtin_va_end(arguments);
}

// ACPI soft-off of the machines this runs on: the power port of QEMU's and Droste's 440FX board, the same
// register where Bochs' BIOS puts it, and Bochs' own shutdown port.
static void power_off(void) {
    out16(kPowerPort, kPowerOff);
    out16(0xB004, kPowerOff);
    for (const char* s = "Shutdown"; *s != 0; ++s) {
        out8(0x8900, (u8)*s);
    }
}

_Noreturn void stop_machine(bool passed) {
    if (!passed) {
        out32(kDebugExitPort, level.number);
    }
    power_off();
    for (;;) {
        __asm__ volatile("cli; hlt");
    }
}

_Noreturn void fatal(const char* format, ...) {
    print("level %u: FAILED: ", level.number);
    __builtin_va_list arguments;
    __builtin_va_start(arguments, format);
    print_arguments(format, arguments);
    __builtin_va_end(arguments);
    print("\n");
    stop_machine(false);
}
