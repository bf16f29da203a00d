// RESET# and INIT. SDM Vol. 3A, Table "IA-32 and Intel 64 Processor States Following Power-up,
// Reset, or INIT".

#include "cpu/x86/apic/local_apic.hpp"
#include "cpu/x86/model/cpuid.hpp"
#include "cpu/x86/model/msr.hpp"
#include "cpu/x86/seams/intercept.hpp"
#include "cpu/x86/system/segment.hpp"
#include "cpu/x86/vcpu.hpp"

namespace droste {

namespace {

constexpr u64 kResetVector = 0xFFF0;
constexpr u16 kResetCs = 0xF000;
constexpr u64 kResetCsBase = 0xFFFF'0000;

// What both have in common.
void reset_execution_state(Vcpu& cpu) {
    using namespace segment_rights;
    CpuState& s = cpu.state;
    s.gpr = {};
    s.gpr[RDX] = cpuid(cpu, 1, 0).eax;  // the processor signature
    s.rip() = kResetVector;
    s.set_rflags(rflags::kFixed1);

    Segment data;
    data.rights = kTypeWritable | kTypeAccessed | kS | kPresent;
    for (unsigned reg = 0; reg < kSegRegCount; ++reg) {
        set_segment(cpu, static_cast<SegReg>(reg), data);
    }
    s.seg[CS].selector = kResetCs;
    s.seg[CS].base = kResetCsBase;
    s.gdtr = {};
    s.idtr = {};
    s.ldtr = {};
    s.ldtr.rights = kPresent | 2;  // LDT
    s.tr = {};
    s.tr.rights = kPresent | 11;  // busy 32-bit TSS, as VMX wants TR to be

    s.cr2 = 0;
    s.cr3 = 0;
    s.cr4 = 0;
    s.pdpte = {};
    s.efer = 0;
    s.dr = {};
    s.dr6 = dr6::kReset;
    s.dr7 = dr7::kReset;
    s.debugctl = 0;
    s.ssp = 0;
    s.interruptibility = 0;
    s.pending_debug = 0;
}

void begin_execution(Vcpu& cpu) {
    // The application processors wait for the start-up message. SDM Vol. 3A, "MP Initialization
    // Protocol Algorithm".
    cpu.state.activity = cpu.index == 0 ? Activity::Active : Activity::WaitForSipi;
    cpu.step.marks = 0;
    cpu.fault_is_vm_exit = false;
    cpu.withdraw(attention::kUndelivered);
    cpu.tlb.flush_all(cpu);
    cpu.tlb.activate(cpu);
    mode_changed(cpu);
    update_attention(cpu);
}

}  // namespace

void reset_power_on(Vcpu& cpu) {
    CpuState& s = cpu.state;
    const u64 tsc_offset = s.tsc_offset;
    s = CpuState{};
    s.tsc_offset = tsc_offset;
    s.x87.control = 0x40;
    s.x87.tag_valid = 0xFF;  // 5555h: eight registers holding +0
    cpu.non_root.vpid = 0;
    cpu.non_root.ept_root = 0;
    cpu.non_root.intercepts = nullptr;
    cpu.non_root.second_stage = nullptr;
    if (cpu.vmx != nullptr) {
        cpu.vmx->reset(cpu);
    }
    cpu.withdraw(~attention::kStop);
    cpu.apic->reset();
    msr_reset(cpu, true);
    reset_execution_state(cpu);
    begin_execution(cpu);
}

// FPU, SSE and AVX state, XCR0, most MSRs, the TSC and the cache control bits survive an INIT.
void reset_init(Vcpu& cpu) {
    CpuState& s = cpu.state;
    constexpr u64 kKeptCr0 = cr0::kCd | cr0::kNw;
    s.cr0 = (s.cr0 & kKeptCr0) | cr0::kEt;
    cpu.apic->init();
    msr_reset(cpu, false);
    reset_execution_state(cpu);
    begin_execution(cpu);
}

}  // namespace droste
