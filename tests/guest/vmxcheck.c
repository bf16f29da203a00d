/* vmxcheck: is the processor we run on fit for a hypervisor? At any level: on the machine, in its
 * guest, in a guest of that. The same items as `droste nested status`, from CPUID and, as root with
 * the msr driver, from the MSRs.
 *
 *     gcc -O2 -static -o vmxcheck vmxcheck.c
 *     vmxcheck [CPU]       items, a line each; exit status 0: fit, 1: something is missing, 2:
 * cannot tell vmxcheck --fw-cfg    what the machine says itself (opt/droste/nested), as root, on
 * the machine only
 *
 * Without /dev/cpu/N/msr (modprobe msr) what only MSRs tell is "unknown". */
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/sysinfo.h>
#include <unistd.h>

static int missing, unknown;

static void say(const char* state, const char* name, const char* reason) {
    missing += strcmp(state, "missing") == 0;
    unknown += strcmp(state, "unknown") == 0;
    printf("%-9s%-20s%s\n", state, name, reason);
}

/* --- MSRs --- */

static int msr_file = -1;

static int read_msr(uint32_t index, uint64_t* value) {
    return msr_file >= 0 && pread(msr_file, value, sizeof *value, index) == sizeof *value;
}

/* A control that may be 1: bits 63:32 of a capability MSR. */
struct control {
    const char* name;
    uint32_t msr;
    unsigned bit;
};
enum {
    PIN = 0x48D,
    PROC = 0x48E,
    EXIT = 0x48F,
    ENTRY = 0x490,
    PROC2 = 0x48B,
    EPT_VPID = 0x48C,
    BASIC = 0x480
};

/* What KVM, Xen and Hyper-V start with. SDM Vol. 3D, Appendix A. */
static const struct control basic[] = {
    {"vmx-intr-exit", PIN, 0},
    {"vmx-nmi-exit", PIN, 3},
    {"vmx-vintr-pending", PROC, 2},
    {"vmx-tsc-offset", PROC, 3},
    {"vmx-hlt-exit", PROC, 7},
    {"vmx-invlpg-exit", PROC, 9},
    {"vmx-mwait-exit", PROC, 10},
    {"vmx-rdpmc-exit", PROC, 11},
    {"vmx-rdtsc-exit", PROC, 12},
    {"vmx-cr3-load-exit", PROC, 15},
    {"vmx-cr3-store-exit", PROC, 16},
    {"vmx-cr8-load-exit", PROC, 19},
    {"vmx-cr8-store-exit", PROC, 20},
    {"vmx-movdr-exit", PROC, 23},
    {"vmx-io-exit", PROC, 24},
    {"vmx-io-bitmap", PROC, 25},
    {"vmx-msr-bitmap", PROC, 28},
    {"vmx-monitor-exit", PROC, 29},
    {"vmx-secondary-ctls", PROC, 31},
    {"vmx-exit-save-debugctl", EXIT, 2},
    {"vmx-exit-host-64", EXIT, 9},
    {"vmx-exit-ack-intr", EXIT, 15},
    {"vmx-entry-load-debugctl", ENTRY, 2},
    {"vmx-entry-ia32e-mode", ENTRY, 9},
};
static const struct control savers[] = {
    {"vmx-flexpriority", PROC, 21},   {"vmx-apicv-register", PROC2, 8}, {"vmx-apicv-vid", PROC2, 9},
    {"vmx-posted-intr", PIN, 7},      {"vmx-shadow-vmcs", PROC2, 14},   {"vmx-pml", PROC2, 17},
    {"vmx-preemption-timer", PIN, 6},
};

/* Without these KVM hides CET from its guests. */
static const struct control cet[] = {
    {"vmx-exit-save-cet", EXIT, 28},
    {"vmx-entry-load-cet", ENTRY, 20},
    {"vmx-unrestricted-guest", PROC2, 7},
    {"vmx-any-errcode", BASIC, 56},
};

/* The TRUE MSRs, or the old ones where IA32_VMX_BASIC[55] is 0. */
static uint32_t may_be_1(uint32_t msr) {
    uint64_t value = 0, vmx_basic = 0;
    if (msr >= PIN && msr <= ENTRY && read_msr(0x480, &vmx_basic) && !(vmx_basic >> 55 & 1)) {
        msr -= 12;
    }
    return read_msr(msr, &value) ? (uint32_t)(value >> 32) : 0;
}
static int has(uint32_t msr, unsigned bit) {
    uint64_t value = 0;
    if (msr == BASIC) {
        return read_msr(msr, &value) && value >> bit & 1;
    }
    return may_be_1(msr) >> bit & 1;
}
static void say_controls(const char* otherwise,
                         const char* name,
                         const struct control* rows,
                         size_t count,
                         const char* all) {
    char text[1024] = "off:";
    int off = 0;
    for (size_t i = 0; i < count; ++i) {
        if (!has(rows[i].msr, rows[i].bit)) {
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s %s", off ? "," : "",
                     rows[i].name);
            off = 1;
        }
    }
    say(off ? otherwise : "ok", name, off ? text : all);
}

static void check_feature_control(void) {
    uint64_t value = 0;
    if (!read_msr(0x3A, &value)) {
        say("missing", "feature control", "IA32_FEATURE_CONTROL cannot be read");
    } else if ((value & 5) == 5) {
        say("ok", "feature control", "IA32_FEATURE_CONTROL is locked with VMX allowed");
    } else if (value & 1) {
        say("missing", "feature control",
            "IA32_FEATURE_CONTROL is locked without VMX: VMXON raises #GP");
    } else {
        say("warn", "feature control",
            "IA32_FEATURE_CONTROL is not locked: the operating system has to set it");
    }
}

static void check_vmx_msrs(void) {
    static const char* const names[] = {"feature control", "VMX controls", "EPT",
                                        "unrestricted guest", "VPID"};
    if (msr_file < 0) {
        for (size_t i = 0; i < sizeof names / sizeof *names; ++i) {
            say("unknown", names[i], "needs /dev/cpu/N/msr (root, modprobe msr)");
        }
        return;
    }
    check_feature_control();
    say_controls("missing", "VMX controls", basic, sizeof basic / sizeof *basic,
                 "all that KVM, Xen and Hyper-V start with");
    const int ept = has(PROC2, 1);
    say(ept ? "ok" : "missing", "EPT",
        ept ? "on"
            : "off (vmx-ept): KVM shadows page tables, Xen has no HAP, Hyper-V does not start");
    uint64_t pages = 0;
    if (ept && read_msr(EPT_VPID, &pages)) {
        const uint64_t wanted = 1ULL << 0 | 1ULL << 16 | 1ULL << 17 | 1ULL << 21 | 1ULL << 25;
        char text[128];
        snprintf(text, sizeof text, "off:%s%s%s%s%s", pages >> 16 & 1 ? "" : " vmx-ept-2mb",
                 pages >> 17 & 1 ? "" : " vmx-ept-1gb", pages >> 21 & 1 ? "" : " vmx-eptad",
                 pages & 1 ? "" : " vmx-ept-execonly",
                 pages >> 25 & 1 ? "" : " vmx-invept-single-context");
        const int good = (pages & wanted) == wanted;
        say(good ? "ok" : "warn", "EPT pages",
            good ? "4K, 2M, 1G, accessed and dirty flags" : text);
    }
    say(has(PROC2, 7) ? "ok" : "missing", "unrestricted guest",
        has(PROC2, 7)
            ? "on"
            : "off (vmx-unrestricted-guest): real-mode code of guests has to be emulated");
    say(has(PROC2, 5) ? "ok" : "warn", "VPID",
        has(PROC2, 5) ? "on, nothing is flushed at VM entry and VM exit"
                      : "off (vmx-vpid): each VM entry and VM exit flushes the TLB");
    say_controls("warn", "fewer VM exits", savers, sizeof savers / sizeof *savers,
                 "TPR shadow, APIC virtualization, VMCS shadowing, PML, timer");
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) && (c >> 7 & 1 || d >> 20 & 1)) {
        say_controls("warn", "CET", cet, sizeof cet / sizeof *cet, "for guests, too");
    }
}

/* --- fw_cfg, by ports. QEMU, "QEMU Firmware Configuration (fw_cfg) Device". --- */

enum { SELECTOR = 0x510, DATA = 0x511 };

static void select_item(uint16_t key) {
    outw(key, SELECTOR);
}
static uint32_t read_big_endian(unsigned bytes) {
    uint32_t value = 0;
    while (bytes-- != 0) {
        value = value << 8 | inb(DATA);
    }
    return value;
}
static int print_fw_cfg(void) {
    if (ioperm(SELECTOR, 2, 1) != 0) {
        fprintf(stderr, "vmxcheck: ports: %s\n", strerror(errno));
        return 2;
    }
    select_item(0);
    if (read_big_endian(4) != 0x51454D55) {
        fprintf(stderr, "vmxcheck: there is no fw_cfg here\n");
        return 2;
    }
    select_item(0x19);
    for (uint32_t left = read_big_endian(4); left != 0 && left < 0x4000; --left) {
        const uint32_t bytes = read_big_endian(4);
        const uint16_t key = (uint16_t)read_big_endian(2);
        char name[57] = "";
        (void)read_big_endian(2);
        for (int i = 0; i < 56; ++i) {
            name[i] = (char)inb(DATA);
        }
        if (strcmp(name, "opt/droste/nested") == 0) {
            select_item(key);
            for (uint32_t i = 0; i < bytes; ++i) {
                putchar(inb(DATA));
            }
            return 0;
        }
    }
    fprintf(stderr, "vmxcheck: fw_cfg has no opt/droste/nested\n");
    return 2;
}

/* --- CPUID and the rest --- */

int main(int argc, char** argv) {
    if (argc > 1 && strcmp(argv[1], "--fw-cfg") == 0) {
        return print_fw_cfg();
    }
    char path[64];
    const long cpu = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
    snprintf(path, sizeof path, "/dev/cpu/%ld/msr", cpu);
    msr_file = open(path, O_RDONLY);

    unsigned a = 0, b = 0, c = 0, d = 0, ext_c = 0, ext_d = 0, timers_d = 0;
    char brand[49] = "", vendor[13] = "", text[128];
    __get_cpuid(0, &a, &b, &c, &d);
    memcpy(vendor, &b, 4);
    memcpy(vendor + 4, &d, 4);
    memcpy(vendor + 8, &c, 4);
    for (unsigned i = 0; i < 3; ++i) {
        unsigned words[4] = {0};
        __get_cpuid(0x80000002 + i, &words[0], &words[1], &words[2], &words[3]);
        memcpy(brand + 16 * i, words, 16);
    }
    __get_cpuid(0x80000001, &a, &b, &ext_c, &ext_d);
    __get_cpuid(0x80000007, &a, &b, &c, &timers_d);
    __get_cpuid(1, &a, &b, &c, &d);
    snprintf(text, sizeof text, "%s%s%s%s", vendor, brand[0] ? ", " : "", brand,
             c >> 31 ? "; a hypervisor is below" : "");
    say("ok", "CPU", text);
    const int wide = ext_d >> 29 & 1 && ext_d >> 20 & 1 && d >> 6 & 1 && d >> 9 & 1;
    say(wide ? "ok" : "missing", "64-bit CPU", wide ? "64-bit mode, NX, local APIC" : "off");
    if (c >> 5 & 1) {
        say("ok", "VMX", "visible to the guest");
        check_vmx_msrs();
    } else {
        say("missing", "VMX", "hidden: CPUID.1:ECX.VMX is 0");
    }
    struct sysinfo memory;
    if (sysinfo(&memory) == 0) {
        /* The kernel keeps some for itself: what is left of 512 MiB. */
        const unsigned long long mib = (unsigned long long)memory.totalram * memory.mem_unit >> 20;
        snprintf(text, sizeof text, "%llu MiB%s", mib,
                 mib < 440 ? ": a hypervisor and a guest need more" : "");
        say(mib < 440 ? "missing" : "ok", "memory", text);
    }
    say(c >> 21 & 1 ? "ok" : "warn", "x2APIC", c >> 21 & 1 ? "available" : "off");
    const int timers = timers_d >> 8 & 1 && c >> 24 & 1 && ext_d >> 27 & 1;
    say(timers ? "ok" : "warn", "timers",
        timers ? "invariant TSC, TSC deadline, RDTSCP"
               : "not all of invariant TSC, TSC deadline, RDTSCP");
    say(access("/dev/kvm", F_OK) == 0 ? "ok" : "warn", "/dev/kvm",
        access("/dev/kvm", F_OK) == 0 ? "there" : "not there");
    return missing != 0 ? 1 : unknown != 0 ? 2 : 0;
}
