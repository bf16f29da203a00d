// A small virtual machine monitor on /dev/kvm, for the nested tests: it boots a bzImage with an initrd on a serial console.
//
//   minivmm [-m MIB] [-smp N] KERNEL INITRD "COMMAND LINE"
//
// In-kernel irqchip and PIT, a 16450 on ports 3F8h, a PCI bus with nothing but its bridge, just enough ACPI for SMP and
// power-off. The guest ends the machine by switching off, by a triple fault (reboot=t), or by writing a value to port F4h,
// which becomes the exit status. Built statically: it is all there is in the initramfs of a level besides busybox.

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    kBootParams = 0x10000,
    kCommandLine = 0x20000,
    kPageTables = 0x30000,
    kGdt = 0x40000,
    kAcpi = 0xF0000,
    kPm1Event = 0x600,
    kPm1Control = 0x604,
    kKernelBase = 0x1000000,
    kUartPort = 0x3F8,
    kUartIrq = 4,
    kExitPort = 0xF4,
    kPciAddress = 0xCF8,
    kPciData = 0xCFC,
};

static int vm_fd, kvm_fd;
static uint8_t* ram;
static uint64_t ram_bytes = 256ull << 20;
static unsigned cpu_count = 1;
static pthread_mutex_t device_lock = PTHREAD_MUTEX_INITIALIZER;

static void fail(const char* what) {
    fprintf(stderr, "minivmm: %s: %s\n", what, strerror(errno));
    exit(2);
}

// --- 16450 ---------------------------------------------------------------------------------------

static struct {
    uint8_t ier, lcr, mcr, scratch, divisor_low, divisor_high;
    int transmit_empty_pending;
    int level;
} uart;

static void uart_update_irq(void) {
    const int level = (uart.ier & 2) != 0 && uart.transmit_empty_pending;
    if (level != uart.level) {
        uart.level = level;
        struct kvm_irq_level line = {.irq = kUartIrq, .level = (uint32_t)level};
        ioctl(vm_fd, KVM_IRQ_LINE, &line);
    }
}

static uint8_t uart_read(unsigned reg) {
    const int divisor = (uart.lcr & 0x80) != 0;
    switch (reg) {
        case 0: return divisor ? uart.divisor_low : 0;
        case 1: return divisor ? uart.divisor_high : uart.ier;
        case 2: {
            if ((uart.ier & 2) == 0 || !uart.transmit_empty_pending) {
                return 1;
            }
            uart.transmit_empty_pending = 0;
            uart_update_irq();
            return 2;
        }
        case 3: return uart.lcr;
        case 4: return uart.mcr;
        case 5: return 0x60;
        case 6:
            if ((uart.mcr & 0x10) != 0) {  // loopback: MCR's outputs come back
                return (uint8_t)(((uart.mcr & 1) << 5) | ((uart.mcr & 2) << 3) | ((uart.mcr & 4) << 4) |
                                 ((uart.mcr & 8) << 4));
            }
            return 0xB0;
        default: return uart.scratch;
    }
}

static void uart_write(unsigned reg, uint8_t value) {
    const int divisor = (uart.lcr & 0x80) != 0;
    switch (reg) {
        case 0:
            if (divisor) {
                uart.divisor_low = value;
            } else if ((uart.mcr & 0x10) == 0) {
                if (write(1, &value, 1) != 1) {
                    exit(3);
                }
                uart.transmit_empty_pending = 1;
            }
            break;
        case 1:
            if (divisor) {
                uart.divisor_high = value;
            } else {
                if ((value & 2) != 0 && (uart.ier & 2) == 0) {
                    uart.transmit_empty_pending = 1;
                }
                uart.ier = value & 0xF;
            }
            break;
        case 3: uart.lcr = value; break;
        case 4: uart.mcr = value; break;
        case 7: uart.scratch = value; break;
        default: break;
    }
    uart_update_irq();
}

// --- loading -------------------------------------------------------------------------------------

static uint8_t* read_file(const char* name, size_t* bytes) {
    const int fd = open(name, O_RDONLY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        fail(name);
    }
    uint8_t* data = malloc((size_t)st.st_size);
    size_t got = 0;
    while (got < (size_t)st.st_size) {
        const ssize_t n = read(fd, data + got, (size_t)st.st_size - got);
        if (n <= 0) {
            fail(name);
        }
        got += (size_t)n;
    }
    close(fd);
    *bytes = got;
    return data;
}

static void put16(uint8_t* at, unsigned value) {
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}
static void put32(uint8_t* at, uint32_t value) {
    memcpy(at, &value, 4);
}
static void put64(uint8_t* at, uint64_t value) {
    memcpy(at, &value, 8);
}

static uint8_t checksum(const uint8_t* data, size_t bytes) {
    uint8_t sum = 0;
    while (bytes-- != 0) {
        sum = (uint8_t)(sum + *data++);
    }
    return (uint8_t)-sum;
}

static uint8_t* table_header(uint8_t* at, const char* signature, size_t bytes, unsigned revision) {
    memset(at, 0, bytes);
    memcpy(at, signature, 4);
    put32(at + 4, (uint32_t)bytes);
    at[8] = (uint8_t)revision;
    memcpy(at + 10, "DROSTE", 6);
    memcpy(at + 16, "MINIVMM ", 8);
    memcpy(at + 28, "MINI", 4);
    return at;
}

// RSDP, XSDT, FADT, MADT and a DSDT that holds \_S5 only. ACPI Specification 6.4, "ACPI Software Programming Model".
static void build_acpi(void) {
    enum { kXsdt = kAcpi + 0x100, kFadt = kAcpi + 0x200, kMadt = kAcpi + 0x400, kDsdt = kAcpi + 0x600 };
    uint8_t* rsdp = ram + kAcpi;
    memcpy(rsdp, "RSD PTR ", 8);
    memcpy(rsdp + 9, "DROSTE", 6);
    rsdp[15] = 2;
    put32(rsdp + 20, 36);
    put64(rsdp + 24, kXsdt);
    rsdp[8] = checksum(rsdp, 20);
    rsdp[32] = checksum(rsdp, 36);

    uint8_t* xsdt = table_header(ram + kXsdt, "XSDT", 36 + 16, 1);
    put64(xsdt + 36, kFadt);
    put64(xsdt + 44, kMadt);
    xsdt[9] = checksum(xsdt, 52);

    static const uint8_t kSoftOff[] = {0x08, 0x5C, '_', 'S', '5', '_', 0x12, 0x06, 0x04, 0, 0, 0, 0};
    uint8_t* dsdt = table_header(ram + kDsdt, "DSDT", 36 + sizeof(kSoftOff), 2);
    memcpy(dsdt + 36, kSoftOff, sizeof(kSoftOff));
    dsdt[9] = checksum(dsdt, 36 + sizeof(kSoftOff));

    uint8_t* fadt = table_header(ram + kFadt, "FACP", 244, 3);
    put32(fadt + 40, kDsdt);
    put16(fadt + 46, 9);  // SCI
    put32(fadt + 56, kPm1Event);
    put32(fadt + 64, kPm1Control);
    fadt[88] = 4;
    fadt[89] = 2;
    put16(fadt + 109, 1);                       // legacy devices; no 8042, whose absence Linux would time out on
    put32(fadt + 112, 1u | 1u << 4 | 1u << 5);  // WBINVD; no fixed power and sleep buttons
    put64(fadt + 140, kDsdt);
    fadt[9] = checksum(fadt, 244);

    const size_t madt_bytes = 44 + 8 * cpu_count + 12 + 6;
    uint8_t* madt = table_header(ram + kMadt, "APIC", madt_bytes, 3);
    put32(madt + 36, 0xFEE00000);
    put32(madt + 40, 1);
    uint8_t* entry = madt + 44;
    for (unsigned i = 0; i < cpu_count; i++, entry += 8) {
        entry[0] = 0, entry[1] = 8, entry[2] = (uint8_t)i, entry[3] = (uint8_t)i, entry[4] = 1;
    }
    entry[0] = 1, entry[1] = 12, entry[2] = (uint8_t)cpu_count;
    put32(entry + 4, 0xFEC00000);
    entry += 12;
    entry[0] = 4, entry[1] = 6, entry[2] = 0xFF, entry[5] = 1;  // LINT1 = NMI
    madt[9] = checksum(madt, madt_bytes);
}

static void e820(uint8_t* params, uint64_t first, uint64_t bytes, uint32_t type) {
    uint8_t* entry = params + 0x2D0 + 20 * params[0x1E8]++;
    put64(entry, first);
    put64(entry + 8, bytes);
    put32(entry + 16, type);
}

// The 64-bit entry of the Linux boot protocol.
static uint64_t load_linux(const char* kernel_name, const char* initrd_name, const char* command_line) {
    size_t kernel_bytes, initrd_bytes;
    uint8_t* kernel = read_file(kernel_name, &kernel_bytes);
    uint8_t* initrd = read_file(initrd_name, &initrd_bytes);
    if (kernel_bytes < 0x300 || memcmp(kernel + 0x202, "HdrS", 4) != 0) {
        fprintf(stderr, "minivmm: %s is not a bzImage\n", kernel_name);
        exit(2);
    }
    const size_t setup = ((kernel[0x1F1] ? kernel[0x1F1] : 4u) + 1) * 512;
    const uint64_t initrd_at = (ram_bytes - initrd_bytes - (1 << 20)) & ~0xFFFull;
    if (kKernelBase + kernel_bytes + (64 << 20) > initrd_at) {
        fprintf(stderr, "minivmm: %llu MiB are too few for this kernel and initrd\n", (unsigned long long)ram_bytes >> 20);
        exit(2);
    }
    memcpy(ram + kKernelBase, kernel + setup, kernel_bytes - setup);
    memcpy(ram + initrd_at, initrd, initrd_bytes);
    strcpy((char*)ram + kCommandLine, command_line);
    uint8_t* params = ram + kBootParams;
    memcpy(params + 0x1F1, kernel + 0x1F1, 0x202 + kernel[0x201] - 0x1F1);
    put64(params + 0x70, kAcpi);
    params[0x210] = 0xFF;
    params[0x211] |= 0x80;
    put32(params + 0x218, (uint32_t)initrd_at);
    put32(params + 0x21C, (uint32_t)initrd_bytes);
    put32(params + 0x228, kCommandLine);
    e820(params, 0, 0x9FC00, 1);
    e820(params, 0xF0000, 0x10000, 2);
    e820(params, 0x100000, ram_bytes - 0x100000, 1);
    // Identity page tables for 4 GiB, in 2 MiB pages.
    put64(ram + kPageTables, (kPageTables + 0x1000) | 3);
    for (unsigned i = 0; i < 4; i++) {
        put64(ram + kPageTables + 0x1000 + i * 8, (kPageTables + 0x2000 + i * 0x1000u) | 3);
    }
    for (unsigned i = 0; i < 2048; i++) {
        put64(ram + kPageTables + 0x2000 + i * 8, ((uint64_t)i << 21) | 0x83);
    }
    put64(ram + kGdt + 0x10, 0x00AF9B000000FFFFull);
    put64(ram + kGdt + 0x18, 0x00CF93000000FFFFull);
    free(kernel);
    free(initrd);
    return kKernelBase + 0x200;
}

// --- ACPI PM1: no event ever comes, but Linux checks that the enable bits it sets stay -----------------------

static uint16_t pm1_enable;

static void pm1_write(unsigned port, const uint8_t* data, unsigned size) {
    if (port == kPm1Event + 2 && size == 2) {
        pm1_enable = (uint16_t)(data[0] | data[1] << 8);
    } else if (port == kPm1Control && size == 2 && (data[1] & 0x20) != 0) {
        exit(0);  // SLP_EN
    }
}

static void pm1_read(unsigned port, uint8_t* data, unsigned size) {
    memset(data, 0, size);
    if (port == kPm1Event + 2 && size == 2) {
        put16(data, pm1_enable);
    } else if (port == kPm1Control) {
        data[0] = 1;  // SCI_EN: ACPI mode is on
    }
}

// --- PCI configuration mechanism 1: one host bridge, so that Linux finds a bus it believes in ----------------

static uint32_t pci_address;

static void pci_read(unsigned port, uint8_t* data, unsigned size) {
    static const uint8_t kBridge[16] = {0x86, 0x80, 0x37, 0x12, 0, 0, 0, 0, 0, 0, 0x00, 0x06};
    memset(data, 0xFF, size);
    if (port == kPciAddress && size == 4) {
        put32(data, pci_address);
    } else if (port >= kPciData && (pci_address & 0x80FFFF00) == 0x80000000) {
        const unsigned reg = (pci_address & 0xFC) + (port - kPciData);
        for (unsigned i = 0; i < size; i++) {
            data[i] = reg + i < sizeof(kBridge) ? kBridge[reg + i] : 0;
        }
    }
}

// --- vCPUs ---------------------------------------------------------------------------------------

static void set_cpuid(int fd, unsigned index) {
    static const unsigned kMax = 100;
    struct kvm_cpuid2* cpuid = calloc(1, sizeof(*cpuid) + kMax * sizeof(cpuid->entries[0]));
    cpuid->nent = kMax;
    if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid) != 0) {
        fail("KVM_GET_SUPPORTED_CPUID");
    }
    for (unsigned i = 0; i < cpuid->nent; i++) {
        struct kvm_cpuid_entry2* e = &cpuid->entries[i];
        if (e->function == 1) {
            e->ebx = (e->ebx & 0xFFFF) | (index << 24) | (cpu_count << 16);
            e->ecx |= 1u << 24;  // TSC deadline: the in-kernel APIC has it
            // "Hypervisor present": the guest's kernel looks for KVM's leaves and finds kvmclock. Without it Linux measures
            // the TSC against an emulated PIT, may find no frequency at all, and then its own KVM never enters a guest.
            e->ecx |= 1u << 31;
        } else if (e->function == 0xB || e->function == 0x1F) {
            e->edx = index;
        }
    }
    if (ioctl(fd, KVM_SET_CPUID2, cpuid) != 0) {
        fail("KVM_SET_CPUID2");
    }
    free(cpuid);
}

// KVM starts IA32_MISC_ENABLE without "fast strings"; Linux then drops ERMS but keeps FSRM, and its memmove() needs both or
// neither.
static void enable_fast_strings(int fd) {
    struct {
        struct kvm_msrs header;
        struct kvm_msr_entry entry;
    } msrs = {.header = {.nmsrs = 1}, .entry = {.index = 0x1A0, .data = 1}};
    if (ioctl(fd, KVM_SET_MSRS, &msrs) != 1) {
        fail("KVM_SET_MSRS");
    }
}

static void set_entry_state(int fd, uint64_t entry) {
    struct kvm_sregs sregs;
    ioctl(fd, KVM_GET_SREGS, &sregs);
    struct kvm_segment code = {.base = 0, .limit = 0xFFFFFFFF, .selector = 0x10, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1};
    struct kvm_segment data = {.base = 0, .limit = 0xFFFFFFFF, .selector = 0x18, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1};
    sregs.cs = code;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
    sregs.gdt.base = kGdt;
    sregs.gdt.limit = 0x1F;
    sregs.cr3 = kPageTables;
    sregs.cr4 = 0x20;
    sregs.cr0 = 0x80050033;
    sregs.efer = 0x500;
    if (ioctl(fd, KVM_SET_SREGS, &sregs) != 0) {
        fail("KVM_SET_SREGS");
    }
    struct kvm_regs regs = {.rip = entry, .rsi = kBootParams, .rflags = 2};
    if (ioctl(fd, KVM_SET_REGS, &regs) != 0) {
        fail("KVM_SET_REGS");
    }
}

static void port_io(struct kvm_run* run) {
    uint8_t* data = (uint8_t*)run + run->io.data_offset;
    for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
        const unsigned port = run->io.port;
        if (run->io.direction == KVM_EXIT_IO_OUT) {
            if (port >= kUartPort && port < kUartPort + 8) {
                uart_write(port - kUartPort, *data);
            } else if (port >= kPm1Event && port < kPm1Control + 2) {
                pm1_write(port, data, run->io.size);
            } else if (port == kPciAddress && run->io.size == 4) {
                memcpy(&pci_address, data, 4);
            } else if (port == kExitPort) {
                exit(*data);
            } else if (port == 0x64 && *data == 0xFE) {
                exit(0);
            }
        } else {
            memset(data, 0xFF, run->io.size);
            if (port >= kUartPort && port < kUartPort + 8) {
                *data = uart_read(port - kUartPort);
            } else if (port >= kPm1Event && port < kPm1Control + 2) {
                pm1_read(port, data, run->io.size);
            } else if (port >= kPciAddress && port < kPciData + 4) {
                pci_read(port, data, run->io.size);
            } else if (port == 0x61) {
                *data = 0x20;
            } else if (port == 0x71) {
                *data = 0;
            } else if (port == 0x64) {
                *data = 0;
            }
        }
    }
}

struct vcpu {
    int fd;
    struct kvm_run* run;
};

static void* run_vcpu(void* argument) {
    struct vcpu* cpu = argument;
    struct kvm_run* run = cpu->run;
    for (;;) {
        if (ioctl(cpu->fd, KVM_RUN, 0) != 0) {
            if (errno == EINTR || errno == EAGAIN) {
                continue;  // EAGAIN: a vCPU that waited for its SIPI has got it
            }
            fail("KVM_RUN");
        }
        switch (run->exit_reason) {
            case KVM_EXIT_IO:
                pthread_mutex_lock(&device_lock);
                port_io(run);
                pthread_mutex_unlock(&device_lock);
                break;
            case KVM_EXIT_MMIO:
                if (!run->mmio.is_write) {
                    memset(run->mmio.data, 0xFF, sizeof(run->mmio.data));
                }
                break;
            case KVM_EXIT_SHUTDOWN: fprintf(stderr, "minivmm: guest shut down\n"); exit(0);
            case KVM_EXIT_INTR: break;
            case KVM_EXIT_FAIL_ENTRY:
                fprintf(stderr, "minivmm: VM entry failed, hardware reason %#llx\n",
                        (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
                exit(4);
            default:
                fprintf(stderr, "minivmm: exit reason %u, suberror %u\n", run->exit_reason, run->internal.suberror);
                exit(5);
        }
    }
}

int main(int argc, char** argv) {
    int next = 1;
    while (next + 1 < argc && argv[next][0] == '-') {
        if (strcmp(argv[next], "-m") == 0) {
            ram_bytes = strtoull(argv[next + 1], NULL, 0) << 20;
        } else if (strcmp(argv[next], "-smp") == 0) {
            cpu_count = (unsigned)strtoul(argv[next + 1], NULL, 0);
        } else {
            break;
        }
        next += 2;
    }
    if (argc - next != 3 || cpu_count < 1 || cpu_count > 8 || ram_bytes < (128ull << 20) || ram_bytes > (2048ull << 20)) {
        fprintf(stderr, "usage: minivmm [-m 128..2048] [-smp 1..8] KERNEL INITRD \"COMMAND LINE\"\n");
        return 2;
    }
    kvm_fd = open("/dev/kvm", O_RDWR);
    if (kvm_fd < 0) {
        fail("/dev/kvm");
    }
    vm_fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);
    if (vm_fd < 0) {
        fail("KVM_CREATE_VM");
    }
    uint64_t identity = 0xFFFBC000;
    ioctl(vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
    if (ioctl(vm_fd, KVM_SET_TSS_ADDR, 0xFFFBD000ul) != 0 || ioctl(vm_fd, KVM_CREATE_IRQCHIP, 0) != 0) {
        fail("KVM_CREATE_IRQCHIP");
    }
    struct kvm_pit_config pit = {0};
    if (ioctl(vm_fd, KVM_CREATE_PIT2, &pit) != 0) {
        fail("KVM_CREATE_PIT2");
    }
    ram = mmap(NULL, ram_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    struct kvm_userspace_memory_region region = {.memory_size = ram_bytes, .userspace_addr = (uint64_t)(uintptr_t)ram};
    if (ram == MAP_FAILED || ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &region) != 0) {
        fail("guest memory");
    }
    const uint64_t entry = load_linux(argv[next], argv[next + 1], argv[next + 2]);
    build_acpi();
    const int run_bytes = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    struct vcpu cpus[8];
    for (unsigned i = 0; i < cpu_count; i++) {
        cpus[i].fd = ioctl(vm_fd, KVM_CREATE_VCPU, i);
        if (cpus[i].fd < 0) {
            fail("KVM_CREATE_VCPU");
        }
        cpus[i].run = mmap(NULL, (size_t)run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, cpus[i].fd, 0);
        set_cpuid(cpus[i].fd, i);
        enable_fast_strings(cpus[i].fd);
    }
    set_entry_state(cpus[0].fd, entry);
    for (unsigned i = 1; i < cpu_count; i++) {
        pthread_t thread;
        pthread_create(&thread, NULL, run_vcpu, &cpus[i]);
    }
    run_vcpu(&cpus[0]);
    return 0;
}
