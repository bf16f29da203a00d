// One level from its start to its end: read what the loader says, check ourselves, run a child if there is
// to be one, check what the child did, report, power off.
#include "vmx.h"

enum { kMultibootLoaderMagic = 0x2BADB002, kMaxLevels = 32, kDefaultLevels = 8 };

struct Level level;

struct MultibootInfo {
    u32 flags, mem_lower_kib, mem_upper_kib, boot_device, cmdline;
};

static u32 number_after(const char* text) {
    u32 number = 0;
    for (; *text >= '0' && *text <= '9' && number < 1000; ++text) {
        number = number * 10 + (u32)(*text - '0');
    }
    return number;
}

static void read_command_line(const char* text) {
    while (*text != 0) {
        if (starts_with(text, "levels=")) {
            level.levels = number_after(text + 7);
        } else if (starts_with(text, "level=")) {
            level.number = number_after(text + 6);
        } else if (starts_with(text, "plain")) {
            level.plain = true;
        }
        while (*text != 0 && *text != ' ') {
            ++text;
        }
        while (*text == ' ') {
            ++text;
        }
    }
}

static void read_boot_information(u32 magic, const struct MultibootInfo* info) {
    enum { kMemory = 1 << 0, kCmdline = 1 << 2 };
    level.number = 1;
    level.levels = kDefaultLevels;
    if (magic != kMultibootLoaderMagic || (info->flags & kMemory) == 0) {
        fatal("not started by a multiboot loader that tells the memory size");
    }
    if ((info->flags & kCmdline) != 0) {
        read_command_line((const char*)(uintptr_t)info->cmdline);
    }
    if (level.levels < 1 || level.levels > kMaxLevels) {
        fatal("levels=%u: expected 1 to %u", level.levels, kMaxLevels);
    }
    const u64 available = (u64)info->mem_upper_kib * 1024 + 0x100000;
    level.memory_bytes = LARGE_PAGE_BYTES * (level.levels - level.number + 1);
    if (available < level.memory_bytes) {
        fatal("%u levels need %u MiB of memory, there are %u", level.levels - level.number + 1,
              (u32)(level.memory_bytes >> 20), (u32)(available >> 20));
    }
}

// The machine's interrupt controllers may have something pending from the firmware. Guests of level 1 run
// with interrupts enabled, and would get it.
static void set_up_machine(void) {
    out8(0x21, 0xFF);
    out8(0xA1, 0xFF);
    out8(kSerialPort + 3, 3);  // line control: eight bits, no parity, one stop bit
}

// The parent's side of the checks: the child did exactly what it should have, and changed nothing of ours.
static void check_child(struct Checks* checks) {
    const struct ChildReport* seen = &child_report;
    checks->isolation = checks->isolation && seen->denied_reads == 1 && seen->denied_writes == 1 &&
                        seen->remaps == 1 && canary == expected_canary(level.number) && checksum_image() == level.image_checksum;
    checks->intercept = checks->intercept && seen->cpuid_exits >= 2 && seen->port_reads == 1 && seen->denied_msrs == 1;
    checks->interrupt = checks->interrupt && seen->injected == 2 && seen->windows == 1 &&
                        seen->late_pages == 1;
}

static const char* verdict(bool ok) { return ok ? "ok" : "FAILED"; }

static void report(const struct Checks* checks, bool alone) {
    if (alone) {
        print("level %u: arithmetic %s (exits 0)\n", level.number, verdict(checks->arithmetic));
        return;
    }
    print("level %u: arithmetic %s, isolation %s, intercept %s, interrupt %s (exits %u)\n", level.number,
          verdict(checks->arithmetic), verdict(checks->isolation), verdict(checks->intercept),
          verdict(checks->interrupt), (u32)child_report.exits);
}

_Noreturn void rom_main(u32 magic, const struct MultibootInfo* info);

_Noreturn void rom_main(u32 magic, const struct MultibootInfo* info) {
    read_boot_information(magic, info);
    set_up_interrupts();
    level.image_checksum = checksum_image();
    canary = expected_canary(level.number);
    const bool has_parent = level.number > 1;
    const bool has_child = level.number < level.levels;
    if (!has_parent) {
        set_up_machine();
        print("droste: %u level%s, %u MiB\n", level.levels, level.levels == 1 ? "" : "s",
              (u32)(level.memory_bytes >> 20));
    }
    struct Checks checks = {.arithmetic = check_arithmetic(), true, true, true};
    if (has_parent) {
        check_as_guest(&checks);
    }
    child_report.passed = true;
    if (has_child) {
        child_report.passed = false;
        vmx_on();
        make_child();
        run_child();
        vmcs_clear(&vmcs01);
        vmx_off();
        check_child(&checks);
    }
    report(&checks, !has_parent && !has_child);
    const bool passed = checks.arithmetic && checks.isolation && checks.intercept && checks.interrupt;
    if (!has_parent) {
        print("droste: %u level%s, %s\n", level.levels, level.levels == 1 ? "" : "s",
              passed && child_report.passed ? "all checks passed" : "FAILED");
    }
    stop_machine(passed && child_report.passed);
}
