// MSRs with a behavior of their own: time, the local APIC, system calls, debugging, IA-32e mode,
// segment bases, VMX.

#include "core/bits.hpp"
#include "cpu/x86/apic/local_apic.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/model/msr.hpp"
#include "cpu/x86/model/xstate.hpp"
#include "cpu/x86/seams/intercept.hpp"
#include "cpu/x86/system/segment.hpp"
#include "cpu/x86/vcpu.hpp"

#include <array>

namespace droste {

namespace {

// --- Time. SDM Vol. 3B, "Time-Stamp Counter" and "Time-Stamp Counter Adjustment". ---

// In VMX non-root operation RDMSR of the TSC is offset and scaled as RDTSC is.
bool read_tsc(Vcpu& cpu, u32 /*index*/, u64& value) {
    value = cpu.tsc();
    if (cpu.non_root.intercepts != nullptr) {
        value = cpu.non_root.intercepts->guest_tsc(cpu, value);
    }
    return true;
}

void move_tsc(Vcpu& cpu, u64 delta) {
    cpu.state.tsc_offset += delta;
    cpu.state.tsc_adjust += delta;
    cpu.apic->tsc_changed();
}

bool write_tsc(Vcpu& cpu, u32 /*index*/, u64 value) {
    move_tsc(cpu, value - cpu.tsc());
    return true;
}

bool write_tsc_adjust(Vcpu& cpu, u32 /*index*/, u64 value) {
    move_tsc(cpu, value - cpu.state.tsc_adjust);
    return true;
}

bool read_tsc_deadline(Vcpu& cpu, u32 /*index*/, u64& value) {
    value = cpu.apic->deadline();
    return true;
}

bool write_tsc_deadline(Vcpu& cpu, u32 /*index*/, u64 value) {
    cpu.apic->set_deadline(value);
    return true;
}

// --- Local APIC. ---

bool read_apic_base(Vcpu& cpu, u32 /*index*/, u64& value) {
    value = cpu.apic->base_msr();
    return true;
}

bool write_apic_base(Vcpu& cpu, u32 /*index*/, u64 value) {
    return cpu.apic->write_base_msr(value);
}

bool read_x2apic(Vcpu& cpu, u32 index, u64& value) {
    return cpu.apic->x2apic_read(index, value);
}

bool write_x2apic(Vcpu& cpu, u32 index, u64 value) {
    return cpu.apic->x2apic_write(index, value);
}

// --- System calls, bases. SDM Vol. 2D, "WRMSR": addresses must be canonical. ---

bool check_canonical(const Vcpu& cpu, u32 /*index*/, u64 value) {
    return is_canonical_register(cpu, value);
}

template <SegReg Reg>
bool read_base(Vcpu& cpu, u32 /*index*/, u64& value) {
    value = cpu.state.seg[Reg].base;
    return true;
}

template <SegReg Reg>
bool write_base(Vcpu& cpu, u32 /*index*/, u64 value) {
    cpu.state.seg[Reg].base = value;
    refresh_segment_checks(cpu.state.seg[Reg]);
    return true;
}

// --- IA32_EFER. SDM Vol. 3A, "Extended Feature Enable Register". ---

bool check_efer(const Vcpu& cpu, u32 /*index*/, u64 value) {
    const u64 allowed = (cpu.features.has(Feature::SYSCALL) ? efer::kSce : 0) |
                        (cpu.features.has(Feature::LM) ? efer::kLme | efer::kLma : 0) |
                        (cpu.features.has(Feature::NX) ? efer::kNxe : 0);
    const bool paging = (cpu.state.cr0 & cr0::kPg) != 0;
    return (value & ~allowed) == 0 && !(paging && ((value ^ cpu.state.efer) & efer::kLme) != 0);
}

// LMA is what MOV to CR0 made it; the written bit is ignored.
bool write_efer(Vcpu& cpu, u32 /*index*/, u64 value) {
    const u64 next = (value & ~efer::kLma) | (cpu.state.efer & efer::kLma);
    const u64 changed = next ^ cpu.state.efer;
    cpu.state.efer = next;
    if ((changed & efer::kNxe) != 0) {
        cpu.tlb.activate(cpu);  // bit 63 of paging-structure entries changed its meaning
    }
    if (changed != 0) {
        mode_changed(cpu);
    }
    return true;
}

// --- IA32_XSS. ---

bool check_xss(const Vcpu& cpu, u32 /*index*/, u64 value) {
    return (value & ~xss_supported(cpu.features)) == 0;
}

// --- VMX: cpu/vmx owns the values. ---

bool read_vmx(Vcpu& cpu, u32 index, u64& value) {
    return cpu.vmx != nullptr && cpu.vmx->read_msr(cpu, index, value);
}

bool write_vmx(Vcpu& cpu, u32 index, u64 value) {
    return cpu.vmx != nullptr && cpu.vmx->write_msr(cpu, index, value);
}

using enum MsrAccess;
constexpr u64 kAllBits = ~u64{0};
constexpr u64 kLow32 = 0xFFFF'FFFF;

// clang-format off
constexpr auto kRows = std::to_array<MsrRow>({
    {.index = 0x010, .name = "IA32_TIME_STAMP_COUNTER", .feature = Feature::TSC, .writable = kAllBits, .read = read_tsc,
     .write = write_tsc},
    {.index = 0x01B, .name = "IA32_APIC_BASE", .feature = Feature::APIC, .writable = kAllBits, .read = read_apic_base,
     .write = write_apic_base},
    {.index = 0x03A, .name = "IA32_FEATURE_CONTROL", .feature = Feature::VMX, .writable = kAllBits, .read = read_vmx,
     .write = write_vmx},
    {.index = 0x03B, .name = "IA32_TSC_ADJUST", .feature = Feature::TSC_ADJUST, .writable = kAllBits,
     .field = &CpuState::tsc_adjust, .write = write_tsc_adjust},
    {.index = 0x09B, .name = "IA32_SMM_MONITOR_CTL", .feature = Feature::VMX, .access = ReadOnly},  // no dual-monitor SMM
    {.index = 0x0E1, .name = "IA32_UMWAIT_CONTROL", .feature = Feature::WAITPKG, .writable = kLow32 & ~u64{2},
     .field = &CpuState::umwait_control},
    {.index = 0x174, .name = "IA32_SYSENTER_CS", .feature = Feature::SEP, .writable = kLow32, .ignored = ~kLow32,
     .field = &CpuState::sysenter_cs},
    {.index = 0x175, .name = "IA32_SYSENTER_ESP", .feature = Feature::SEP, .writable = kAllBits,
     .field = &CpuState::sysenter_esp, .check = check_canonical},
    {.index = 0x176, .name = "IA32_SYSENTER_EIP", .feature = Feature::SEP, .writable = kAllBits,
     .field = &CpuState::sysenter_eip, .check = check_canonical},
    {.index = 0x1D9, .name = "IA32_DEBUGCTL", .writable = 3, .field = &CpuState::debugctl},  // LBR, BTF
    {.index = 0x1DB, .name = "MSR_LASTBRANCHFROMIP", .access = ReadOnly},  // branches are not recorded
    {.index = 0x1DC, .name = "MSR_LASTBRANCHTOIP", .access = ReadOnly},
    {.index = 0x1DD, .name = "MSR_LER_FROM_LIP", .access = ReadOnly},
    {.index = 0x1DE, .name = "MSR_LER_TO_LIP", .access = ReadOnly},
    {.index = 0x480, .name = "IA32_VMX_BASIC ..", .feature = Feature::VMX, .writable = kAllBits, .read = read_vmx,
     .write = write_vmx, .count = 0x14},
    {.index = 0x6E0, .name = "IA32_TSC_DEADLINE", .feature = Feature::TSC_DEADLINE, .writable = kAllBits,
     .read = read_tsc_deadline, .write = write_tsc_deadline},
    {.index = 0x800, .name = "x2APIC registers", .feature = Feature::X2APIC, .writable = kAllBits, .read = read_x2apic,
     .write = write_x2apic, .count = 0x100},
    {.index = 0xDA0, .name = "IA32_XSS", .feature = Feature::XSAVES, .writable = kAllBits, .field = &CpuState::xss,
     .check = check_xss},
    {.index = 0xC000'0080, .name = "IA32_EFER", .writable = kAllBits, .field = &CpuState::efer, .check = check_efer,
     .write = write_efer},
    {.index = 0xC000'0081, .name = "IA32_STAR", .feature = Feature::LM, .writable = kAllBits, .field = &CpuState::star},
    {.index = 0xC000'0082, .name = "IA32_LSTAR", .feature = Feature::LM, .writable = kAllBits, .field = &CpuState::lstar,
     .check = check_canonical},
    {.index = 0xC000'0083, .name = "IA32_CSTAR", .feature = Feature::LM, .writable = kAllBits, .field = &CpuState::cstar,
     .check = check_canonical},
    {.index = 0xC000'0084, .name = "IA32_FMASK", .feature = Feature::LM, .writable = kLow32,
     // QUIRK(fmask-upper-half): hypervisors made for Intel processors write all ones.
     .ignored = ~kLow32, .field = &CpuState::sfmask},
    {.index = 0xC000'0100, .name = "IA32_FS_BASE", .feature = Feature::LM, .writable = kAllBits, .check = check_canonical,
     .read = read_base<FS>, .write = write_base<FS>},
    {.index = 0xC000'0101, .name = "IA32_GS_BASE", .feature = Feature::LM, .writable = kAllBits, .check = check_canonical,
     .read = read_base<GS>, .write = write_base<GS>},
    {.index = 0xC000'0102, .name = "IA32_KERNEL_GS_BASE", .feature = Feature::LM, .writable = kAllBits,
     .field = &CpuState::kernel_gs_base, .check = check_canonical},
    {.index = 0xC000'0103, .name = "IA32_TSC_AUX", .feature = Feature::RDTSCP, .writable = kLow32,
     .field = &CpuState::tsc_aux},
});
// clang-format on

}  // namespace

std::span<const MsrRow> msr_rows_cpu() {
    return kRows;
}

}  // namespace droste
