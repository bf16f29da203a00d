// SGDT, SIDT, LGDT, LIDT, INVLPG, INVPCID: descriptor tables and translations.

#include "core/bits.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/system/control_regs.hpp"
#include "cpu/x86/system/exec_system.hpp"

#include <array>
#include <cstring>

namespace droste {

namespace {

// The pseudo-descriptor in memory: a 16-bit limit and the base, 6 bytes or, in 64-bit mode, 10.
struct PseudoDescriptor {
    std::array<u8, 10> bytes{};
};

unsigned pseudo_descriptor_bytes(const Vcpu& cpu) {
    return cpu.mode.long_mode64 ? 10 : 6;
}

Status store_table(Vcpu& cpu, const Insn& insn, Interceptable kind, const DescriptorTable& table) {
    if (const Status status = check_umip(cpu); status != Status::Next) {
        return status;
    }
    if (intercepted(cpu, insn, kind, memory_operand_offset(cpu, insn))) {
        return Status::Switched;
    }
    const unsigned bytes = pseudo_descriptor_bytes(cpu);
    LinearAddr linear = 0;
    if (const Status status = operand_address(cpu, insn, bytes, true, linear);
        status != Status::Next) {
        return status;
    }
    PseudoDescriptor image;
    std::memcpy(image.bytes.data(), &table.limit, 2);
    std::memcpy(image.bytes.data() + 2, &table.base, 8);
    return store_slow(cpu, linear, image.bytes.data(), bytes, static_cast<SegReg>(insn.seg));
}

Status load_table(Vcpu& cpu, const Insn& insn, Interceptable kind, DescriptorTable& table) {
    if (const Status status = require_cpl0(cpu); status != Status::Next) {
        return status;
    }
    if (intercepted(cpu, insn, kind, memory_operand_offset(cpu, insn))) {
        return Status::Switched;
    }
    const unsigned bytes = pseudo_descriptor_bytes(cpu);
    LinearAddr linear = 0;
    if (const Status status = operand_address(cpu, insn, bytes, false, linear);
        status != Status::Next) {
        return status;
    }
    PseudoDescriptor image;
    if (const Status status =
            load_slow(cpu, linear, image.bytes.data(), bytes, static_cast<SegReg>(insn.seg));
        status != Status::Next) {
        return status;
    }
    DescriptorTable loaded;
    std::memcpy(&loaded.limit, image.bytes.data(), 2);
    std::memcpy(&loaded.base, image.bytes.data() + 2, bytes - 2);
    if (!cpu.mode.long_mode64 && insn.opsize == 2) {
        loaded.base &= 0x00FF'FFFF;  // a 16-bit operand size loads a 24-bit base
    }
    if (cpu.mode.long_mode64 && !is_canonical_register(cpu, loaded.base)) {
        return raise(cpu, Exception::GP, 0);
    }
    table = loaded;
    return Status::Sync;
}

}  // namespace

Status exec_sgdt(Vcpu& cpu, const Insn& insn) {
    return store_table(cpu, insn, Interceptable::SGDT, cpu.state.gdtr);
}
Status exec_sidt(Vcpu& cpu, const Insn& insn) {
    return store_table(cpu, insn, Interceptable::SIDT, cpu.state.idtr);
}
Status exec_lgdt(Vcpu& cpu, const Insn& insn) {
    return load_table(cpu, insn, Interceptable::LGDT, cpu.state.gdtr);
}
Status exec_lidt(Vcpu& cpu, const Insn& insn) {
    return load_table(cpu, insn, Interceptable::LIDT, cpu.state.idtr);
}

// INVLPG m. The operand is an address only: no limit, type or canonical check. SDM Vol. 2A,
// "INVLPG—Invalidate TLB Entries".
Status exec_invlpg(Vcpu& cpu, const Insn& insn) {
    if (const Status status = require_cpl0(cpu); status != Status::Next) {
        return status;
    }
    const auto seg = static_cast<SegReg>(insn.seg);
    const u64 base = !cpu.mode.long_mode64 || seg >= FS ? cpu.state.seg[seg].base : 0;
    const u64 sum = base + effective_offset(cpu, insn);
    const LinearAddr linear = cpu.mode.long_mode64 ? sum : static_cast<u32>(sum);
    if (intercepted(cpu, insn, Interceptable::INVLPG, linear)) {
        return Status::Switched;
    }
    if (!cpu.mode.long_mode64 || is_canonical(cpu, linear)) {
        cpu.tlb.flush_page(cpu, linear);
    }
    return Status::Sync;
}

// INVPCID r, m128. SDM Vol. 2A, "INVPCID—Invalidate Process-Context Identifier".
Status exec_invpcid(Vcpu& cpu, const Insn& insn) {
    enum Type : u64 { kIndividualAddress = 0, kSingleContext = 1, kAllRetainingGlobals = 3 };
    if (cpu.non_root.intercepts != nullptr &&
        !cpu.non_root.intercepts->instruction_enabled(cpu, Interceptable::INVPCID)) {
        return raise(cpu, Exception::UD);
    }
    if (const Status status = require_cpl0(cpu); status != Status::Next) {
        return status;
    }
    if (cpu.non_root.intercepts != nullptr) {
        const auto seg = static_cast<SegReg>(insn.seg);
        const u64 base = !cpu.mode.long_mode64 || seg >= FS ? cpu.state.seg[seg].base : 0;
        if (intercepted(cpu, insn, Interceptable::INVPCID, base + effective_offset(cpu, insn))) {
            return Status::Switched;
        }
    }
    LinearAddr linear = 0;
    std::array<u64, 2> descriptor{};
    if (const Status status = operand_address(cpu, insn, sizeof(descriptor), false, linear);
        status != Status::Next) {
        return status;
    }
    if (const Status status = load_linear(cpu, linear, descriptor, static_cast<SegReg>(insn.seg));
        status != Status::Next) {
        return status;
    }
    const u64 type = read_gpr_sized(cpu, insn.reg, cpu.mode.long_mode64 ? 8 : 4);
    const auto pcid = static_cast<u16>(descriptor[0] & 0xFFF);
    const bool pcid_without_pcide = pcid != 0 && (cpu.state.cr4 & cr4::kPcide) == 0;
    const bool bad_pcid =
        (type == kIndividualAddress || type == kSingleContext) && pcid_without_pcide;
    const bool bad_address =
        type == kIndividualAddress && !is_canonical_register(cpu, descriptor[1]);
    if (type > kAllRetainingGlobals || (descriptor[0] >> 12) != 0 || bad_pcid || bad_address) {
        return raise(cpu, Exception::GP, 0);
    }
    switch (type) {
    case kIndividualAddress: cpu.tlb.flush_page_of_pcid(cpu, pcid, descriptor[1]); break;
    case kSingleContext: cpu.tlb.flush_pcid(cpu, pcid); break;
    default: flush_current_vpid(cpu); break;  // type 3 may drop global translations too
    }
    return Status::Sync;
}

}  // namespace droste
