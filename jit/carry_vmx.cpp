// VMREAD and VMWRITE with register operands. Whether a field may be reached, and where the VMCS is,
// the code asks VmcsView (cpu/x86/seams/intercept.hpp) each time, so that it serves root operation and
// a guest with VMCS shadowing, whatever is current. Most hypervisors name the field by a constant;
// where they do not, as in loops over many, VmcsFieldMap says where it lies. Everything else, a VM
// exit among it, the interpreter does.
// SDM Vol. 3C, "VMREAD-Read Field from Virtual-Machine Control Structure", "VMWRITE".

#include "jit/carry_vmx.hpp"

#include "cpu/x86/seams/intercept.hpp"
#include "cpu/x86/vcpu.hpp"
#include "jit/registers.hpp"

#include <optional>
#include <span>

namespace droste::jit {

namespace {

bool accesses_vmcs(const Insn& insn) {
    return (insn.op == Op::VMREAD || insn.op == Op::VMWRITE) && !insn.mem();
}

// What the register holds behind these instructions, if they say so.
std::optional<u64> constant_in(std::span<const Item> before, unsigned reg) {
    for (std::size_t i = before.size(); i-- > 0;) {
        const Insn& insn = *before[i].insn;
        const RegisterEffect& effect = before[i].registers;
        if (!effect.known || (reg == RSP && effect.moves_stack != 0)) {
            return std::nullopt;
        }
        if ((effect.writes >> reg & 1) == 0) {
            continue;
        }
        const bool whole = insn.width >= 4 && !insn.mem() && insn.rm == reg;
        if (whole && insn.op == Op::MOV && insn.form == Form::EI) {
            return insn.width == 4 ? static_cast<u32>(insn.imm) : insn.imm;
        }
        if (whole && insn.op == Op::XOR && insn.form != Form::EI && insn.reg == reg) {
            return 0;
        }
        return std::nullopt;
    }
    return std::nullopt;
}

// to := a pointer of the view or the map.
void load_pointer(Emitter& e, u8 to, i32 base, std::size_t member) {
    e.load(to, at_rsp(layout::kVmx));
    e.load(to, {.base = to, .disp = base + static_cast<i32>(member)});
}

// t1 := the view. The branch to the interpreter if it is closed to the field.
void ask_view(Assembly& a, std::size_t bitmap) {
    Emitter& e = a.emitter();
    const u16 encoding = a.item().vmcs_encoding;
    a.clobber_status();
    e.load(kT1, at_rsp(layout::kVmx));
    e.load(kT0, {.base = kT1, .disp = layout::kVmcsView + static_cast<i32>(bitmap)});
    e.xm({.opcode = 0xF6}, 0, {.base = kT0, .disp = encoding / 8});  // test byte
    e.byte(1U << encoding % 8);
    a.interpret_if(e.jcc(cc::kNE));
}

constexpr Mem fields() {
    return {.base = kT1, .disp = layout::kVmcsView + static_cast<i32>(offsetof(VmcsView, fields))};
}

// t0 := the VmcsFieldPlace of the encoding in the item's register, which the view is open to.
void look_up_field(Assembly& a, std::size_t bitmap) {
    Emitter& e = a.emitter();
    a.clobber_status();
    e.mov(kT0, in_register(a, a.insn().reg, kT0));
    e.alu_imm(7, kT0, VmcsFieldMap::kLastEncoding);
    a.interpret_if(e.jcc(cc::kA));
    load_pointer(e, kT1, layout::kVmcsView, bitmap);
    e.rm({.opcode = 0xA3, .map = OpcodeMap::Map0F}, kT0, {.base = kT1});  // bt
    a.interpret_if(e.jcc(cc::kB));
    e.xr({.opcode = 0xD1}, 5, kT0);  // shr t0, 1: encodings are even
    a.interpret_if(e.jcc(cc::kB));
    load_pointer(e, kT1, layout::kVmcsFieldMap, offsetof(VmcsFieldMap, numbers));
    e.rm({.opcode = 0xB6, .map = OpcodeMap::Map0F}, kT0, {.base = kT1, .index = kT0});
    load_pointer(e, kT1, layout::kVmcsFieldMap, offsetof(VmcsFieldMap, places));
    e.load(kT0, {.base = kT1, .index = kT0, .scale = 3});
}
static_assert(sizeof(VmcsFieldPlace) == 8);
// The members in t0.
constexpr u32 kBytes = 0xFF << 8 * offsetof(VmcsFieldPlace, bytes);
constexpr u32 kWritable = 1U << 8 * offsetof(VmcsFieldPlace, writable);
static_assert(offsetof(VmcsFieldPlace, offset) == 0 && offsetof(VmcsFieldPlace, stale) == 4);

// The branch to the interpreter if t0 has none of the bits.
void need_place(Assembly& a, u32 bits) {
    Emitter& e = a.emitter();
    e.xr({.opcode = 0xF7}, 0, kT0);  // test t0, bits
    e.dword(bits);
    a.interpret_if(e.jcc(cc::kE));
}

// "VMsucceed": all six are clear, as behind a comparison of 2 with 1.
void succeed(Assembly& a) {
    if (!a.item().status_live_after) {
        a.set_status(StatusPlace::Dead);
        return;
    }
    a.emitter().load_imm(kT0, 2);
    a.emitter().alu_imm(7, kT0, 1, false);
    a.set_status(StatusPlace::Native);
}

bool vmread(Assembly& a) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    const VmcsFieldPlace& field = a.item().vmcs_field;
    ask_view(a, offsetof(VmcsView, read_closed));
    e.load(kT0, fields());
    const Opcode load = field.bytes == 2 ? Opcode{.opcode = 0xB7, .map = OpcodeMap::Map0F}
                                         : by_word(0x8B, field.bytes);
    e.rm(load, in_register(a, insn.rm, kT1, false), {.base = kT0, .disp = field.offset});
    written(a, insn.rm, kT1);
    succeed(a);
    return true;
}

// Only another value makes something stale.
bool vmwrite(Assembly& a) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    const VmcsFieldPlace& field = a.item().vmcs_field;
    if (!field.writable) {
        return false;
    }
    ask_view(a, offsetof(VmcsView, write_closed));
    const Mem there = {.base = kT0, .disp = field.offset};
    e.load(kT0, fields());
    const u8 value = in_register(a, insn.rm, kT1);
    if (field.stale == 0) {
        e.rm(by_word(0x89, field.bytes), value, there);
    } else {
        e.rm(by_word(0x39, field.bytes), value, there);  // cmp
        u8* same = e.jcc(cc::kE);
        e.rm(by_word(0x89, field.bytes), value, there);
        e.alu_imm(1, {.base = kT0, .disp = -static_cast<i32>(VmcsView::kStaleBefore)},
                  static_cast<i32>(field.stale), false);
        e.lands_here(same);
    }
    succeed(a);
    return true;
}

// `to` is free once nothing can fail any more.
bool vmread_any(Assembly& a) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    if (in_memory(insn.rm)) {
        return false;
    }
    const u8 to = native(insn.rm);
    look_up_field(a, offsetof(VmcsView, read_closed));
    need_place(a, kBytes);
    e.rr({.opcode = 0xB7, .map = OpcodeMap::Map0F}, kT1, kT0);
    load_pointer(e, to, layout::kVmcsView, offsetof(VmcsView, fields));
    e.load(to, {.base = to, .index = kT1});
    e.xr({.opcode = 0xC1}, 5, kT0);  // shr t0, 16
    e.byte(16);
    e.rr({.opcode = 0xB6, .map = OpcodeMap::Map0F, .byte_rm = true}, kT0, kT0);
    e.load(kT1, at_rsp(layout::kVmx));
    e.rm({.opcode = 0x23, .w = true}, to,  // and
         {.base = kT1,
          .index = kT0,
          .scale = 3,
          .disp = layout::kVmcsFieldMap + static_cast<i32>(offsetof(VmcsFieldMap, masks))});
    succeed(a);
    return true;
}

// The field at [t1], whose place is in TranslatedCode::scratch, := the item's register.
void store_any(Assembly& a) {
    const Insn& insn = a.insn();
    Emitter& e = a.emitter();
    std::array<u8*, 3> stored{}, same{};
    for (unsigned i = 0; i < 3; ++i) {
        const unsigned bytes = 2U << i;
        u8* other = nullptr;
        if (bytes != 8) {
            e.compare_imm8(
                at_rsp(layout::kScratch + static_cast<i32>(offsetof(VmcsFieldPlace, bytes))),
                static_cast<u8>(bytes));
            other = e.jcc(cc::kNE);
        }
        const u8 value = in_register(a, insn.rm, kT0);
        e.rm(by_word(0x39, bytes), value, {.base = kT1});  // cmp
        same[i] = e.jcc(cc::kE);
        e.rm(by_word(0x89, bytes), value, {.base = kT1});
        if (bytes != 8) {
            stored[i] = e.jmp();
            e.lands_here(other);
        }
    }
    e.lands_here(stored[0]);
    e.lands_here(stored[1]);
    e.load32(kT0, at_rsp(layout::kScratch + static_cast<i32>(offsetof(VmcsFieldPlace, stale))));
    load_pointer(e, kT1, layout::kVmcsView, offsetof(VmcsView, fields));
    e.rm({.opcode = 0x09}, kT0,  // or
         {.base = kT1, .disp = -static_cast<i32>(VmcsView::kStaleBefore)});
    for (u8* place : same) {
        e.lands_here(place);
    }
}

bool vmwrite_any(Assembly& a) {
    Emitter& e = a.emitter();
    look_up_field(a, offsetof(VmcsView, write_closed));
    need_place(a, kWritable);
    load_pointer(e, kT1, layout::kVmcsView, offsetof(VmcsView, fields));
    e.store(at_rsp(layout::kScratch), kT0);
    e.rm({.opcode = 0xB7, .map = OpcodeMap::Map0F}, kT0, at_rsp(layout::kScratch));
    e.lea(kT1, {.base = kT1, .index = kT0});
    store_any(a);
    succeed(a);
    return true;
}

}  // namespace

void find_vmcs_fields(const Vcpu& cpu, std::vector<Item>& items) {
    if (cpu.vmx == nullptr || cpu.mode.cpl != 0 || !cpu.mode.long_mode64) {
        return;  // #UD, #GP, or 32-bit operands
    }
    for (std::size_t i = 0; i < items.size(); ++i) {
        if (!accesses_vmcs(*items[i].insn)) {
            continue;
        }
        const auto encoding = constant_in({items.data(), i}, items[i].insn->reg);
        items[i].vmcs_any = !encoding;
        if (encoding) {
            items[i].vmcs_field = cpu.vmx->field_map.find(*encoding);
            items[i].vmcs_encoding = static_cast<u16>(*encoding);
        }
    }
}

bool carry_over_vmx(Assembly& a) {
    const bool reads = a.insn().op == Op::VMREAD;
    if (a.item().vmcs_any) {
        return reads ? vmread_any(a) : vmwrite_any(a);
    }
    return a.item().vmcs_field.bytes != 0 && (reads ? vmread(a) : vmwrite(a));
}

}  // namespace droste::jit
