#include "frontends/machine/cpu_entry.hpp"

#include "cpu/x86/apic/local_apic.hpp"
#include "cpu/x86/model/msr.hpp"
#include "cpu/x86/system/segment.hpp"
#include "frontends/machine/memory_map.hpp"

namespace droste {

namespace {

namespace rights = segment_rights;

Segment flat_segment(u16 selector, u32 type, bool long_code) {
    Segment segment;
    segment.selector = selector;
    segment.rights = type | rights::kTypeAccessed | rights::kS | rights::kPresent | rights::kG |
                     (long_code ? rights::kL : rights::kDb);
    segment.limit = 0xFFFF'FFFF;
    return segment;
}

}  // namespace

void apply_firmware_settings(Vcpu& cpu) {
    // IA32_FEATURE_CONTROL is in place already: VmxConfig.
    msr_firmware_mtrrs(cpu);
}

void apply_virtual_wire_mode(Vcpu& cpu) {
    // SDM Vol. 3A, "Local Vector Table" and "Spurious Interrupt".
    constexpr u32 kSpuriousVector = 0xF0, kLvtLint0 = 0x350, kLvtLint1 = 0x360;
    constexpr u32 kEnableVector255 = 0x1FF, kExtInt = 0x700, kNmi = 0x400;
    cpu.apic->mmio_write(kSpuriousVector, 4, kEnableVector255);
    cpu.apic->mmio_write(kLvtLint0, 4, kExtInt);
    cpu.apic->mmio_write(kLvtLint1, 4, kNmi);
}

void enter(Vcpu& cpu, const EntryState& entry) {
    if (entry.mode == EntryMode::Reset) {
        return;
    }
    CpuState& state = cpu.state;
    const bool long_mode = entry.mode == EntryMode::Long64;
    state.gdtr = {memory_map::kBootGdt, 0x1F};
    state.idtr = {0, 0};
    state.cr0 = cr0::kPe | cr0::kEt | cr0::kNe | (long_mode ? cr0::kPg : 0);
    if (long_mode) {
        state.cr3 = memory_map::kBootPageTables;
        state.cr4 = cr4::kPae;
        state.efer = efer::kLme | efer::kLma;
    }
    set_segment(
        cpu, CS,
        flat_segment(entry.code_selector, rights::kTypeCode | rights::kTypeReadable, long_mode));
    for (const SegReg reg : {SS, DS, ES, FS, GS}) {
        set_segment(cpu, reg, flat_segment(entry.data_selector, rights::kTypeWritable, false));
    }
    state.ldtr = Segment{};
    state.ldtr.rights = rights::kUnusable;
    state.tr = Segment{};
    state.tr.limit = 0x67;
    state.tr.rights = rights::kPresent | 0xB;  // busy TSS
    state.set_rflags(rflags::kFixed1);
    state.gpr.fill(0);
    state.gpr[RAX] = entry.rax;
    state.gpr[RBX] = entry.rbx;
    state.gpr[RSI] = entry.rsi;
    state.rip() = entry.rip;
    cpu.tlb.activate(cpu);
    mode_changed(cpu);
    update_attention(cpu);
}

}  // namespace droste
