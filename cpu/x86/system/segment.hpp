#pragma once
// Segment registers: descriptors, loads with all checks, and the far transfers built on them.
// SDM Vol. 3A, "Protection".

#include "core/types.hpp"
#include "cpu/x86/decode/insn.hpp"
#include "cpu/x86/state/cpu_state.hpp"
#include "cpu/x86/vcpu.hpp"

namespace droste {

// A segment descriptor (or the low half of a 16-byte system descriptor) as it lies in memory.
struct Descriptor {
    u64 raw = 0;
    u64 raw_high = 0;  // upper 8 bytes of a 16-byte descriptor in IA-32e mode

    u32 rights() const {  // segment_rights format
        return static_cast<u32>((raw >> 40) & 0xFF) | static_cast<u32>(((raw >> 52) & 0xF) << 12);
    }
    u32 limit() const {  // in bytes
        const auto low = static_cast<u32>((raw & 0xFFFF) | ((raw >> 32) & 0xF0000));
        return (raw & (u64{1} << 55)) != 0 ? (low << 12) | 0xFFF : low;
    }
    u64 base() const {
        return ((raw >> 16) & 0xFFFFFF) | ((raw >> 32) & 0xFF000000) | (raw_high << 32);
    }
    unsigned dpl() const { return static_cast<unsigned>(raw >> 45) & 3; }
    unsigned type() const { return static_cast<unsigned>(raw >> 40) & 0xF; }
    bool system() const { return ((raw >> 44) & 1) == 0; }
    bool present() const { return ((raw >> 47) & 1) != 0; }
};

// Derives Segment::checks from rights; every writer of a Segment calls it.
void refresh_segment_checks(Segment& segment);
void set_segment(Vcpu& cpu,
                 SegReg reg,
                 const Segment& segment);  // stores, refreshes checks (no mode_changed)
// The hidden part of a real-mode / virtual-8086 load: base = selector * 16.
void load_real_mode_segment(Vcpu& cpu, SegReg reg, u16 selector);

// MOV/POP/LxS to ES, SS, DS, FS, GS in any mode, with all checks. SDM Vol. 2B, "MOV—Move".
Status load_segment(Vcpu& cpu, SegReg reg, u16 selector);
// Reads the descriptor `selector` names in the GDT or LDT; `fault_vector` (#GP, #TS, #SS, #NP) with
// the selector as error code if it lies beyond the limit. 16-byte system descriptors are read whole
// in IA-32e mode.
Status read_descriptor(Vcpu& cpu, u16 selector, Exception fault_vector, Descriptor& out);

// JMP, CALL and RET far and IRET: handlers in exec_far.cpp. These are their shared steps.
Status far_jump(Vcpu& cpu, const Insn& insn, u16 selector, u64 offset);
Status far_call(Vcpu& cpu, const Insn& insn, u16 selector, u64 offset);
Status far_return(Vcpu& cpu, const Insn& insn, u32 release_bytes);
Status interrupt_return(Vcpu& cpu, const Insn& insn);

// SDM Vol. 3A, "Task Switching".
enum class TaskSwitchSource : u8 {
    Call = 0,
    Iret = 1,
    Jump = 2,
    Gate = 3
};  // VMX exit-qualification encoding
Status switch_task(Vcpu& cpu,
                   const Insn* insn,
                   u16 tss_selector,
                   TaskSwitchSource source,
                   bool has_error_code,
                   u32 error_code);

}  // namespace droste
