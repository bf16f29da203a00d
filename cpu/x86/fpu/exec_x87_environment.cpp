// FLDENV, FNSTENV, FRSTOR, FNSAVE: the four layouts of the x87 environment.
// SDM Vol. 1, "Protected Mode x87 FPU State Image in Memory, 32-Bit Format" and the three figures
// after it.
//
// The real-mode layouts hold linear addresses instead of selector and offset. 64-bit mode uses the
// protected-mode layouts; 16-bit ones with an operand-size prefix. Reserved upper halves of 32-bit
// fields are stored as ones, as processors do.

#include "cpu/x86/fpu/exec_x87.hpp"
#include "cpu/x86/fpu/state_area.hpp"

#include <span>

namespace droste {
namespace {

constexpr unsigned kRegisterBytes = 80;
using Buffer = std::array<u8, 28 + kRegisterBytes>;

struct Layout {
    bool wide;  // 32-bit
    bool real;

    static Layout of(const Vcpu& cpu, const Insn& insn) {
        return {insn.opsize != 2, !cpu.mode.protected_mode || cpu.mode.virtual8086};
    }
    unsigned environment_bytes() const { return wide ? 28 : 14; }
    // What alignment checking looks at. SDM Vol. 3A, "Alignment Requirements by Data Type".
    unsigned piece(const Vcpu& cpu) const {
        return !cpu.mode.alignment_checked ? 64 : wide ? 4 : 2;
    }
};

// The seven fields of an environment image, one after the other.
class Fields {
  public:
    Fields(std::span<u8> bytes, bool wide) : bytes_(bytes), wide_(wide) {}

    void put(u32 value) {
        const std::size_t size = wide_ ? 4 : 2;
        std::memcpy(bytes_.data() + offset_, &value, size);
        offset_ += size;
    }
    void put_word(u16 value) { put(0xFFFF'0000U | value); }
    u32 take() {
        u32 value = 0;
        const std::size_t size = wide_ ? 4 : 2;
        std::memcpy(&value, bytes_.data() + offset_, size);
        offset_ += size;
        return value;
    }

  private:
    std::span<u8> bytes_;
    bool wide_;
    std::size_t offset_ = 0;
};

u32 real_mode_address(u16 selector, u64 offset) {
    return (static_cast<u32>(selector) << 4) + static_cast<u32>(offset);
}

void put_environment(const X87State& fpu, Layout layout, std::span<u8> out) {
    Fields fields(out, layout.wide);
    fields.put_word(fpu.control);
    fields.put_word(fpu.status);
    fields.put_word(x87::full_tag_word(fpu));
    const u32 opcode = fpu.opcode & 0x7FFU;
    if (layout.real) {
        const u32 fip = real_mode_address(fpu.instruction_selector, fpu.instruction_pointer);
        const u32 fdp = real_mode_address(fpu.data_selector, fpu.data_pointer);
        fields.put(layout.wide ? 0xFFFF'0000U | fip : fip);
        fields.put((layout.wide ? (fip >> 16) << 12 : ((fip >> 16) & 0xF) << 12) | opcode);
        fields.put(layout.wide ? 0xFFFF'0000U | fdp : fdp);
        fields.put(layout.wide ? (fdp >> 16) << 12 : ((fdp >> 16) & 0xF) << 12);
        return;
    }
    fields.put(static_cast<u32>(fpu.instruction_pointer));
    fields.put((layout.wide ? opcode << 16 : 0) | fpu.instruction_selector);
    fields.put(static_cast<u32>(fpu.data_pointer));
    fields.put_word(fpu.data_selector);
}

void take_environment(X87State& fpu, Layout layout, std::span<u8> in) {
    Fields fields(in, layout.wide);
    fpu.control = x87::loadable_control(static_cast<u16>(fields.take()));
    fpu.status = static_cast<u16>(fields.take());
    x87::load_full_tag_word(fpu, static_cast<u16>(fields.take()));
    if (layout.real) {
        const u32 fip_low = fields.take() & 0xFFFF;
        const u32 fip_high = fields.take();
        const u32 fdp_low = fields.take() & 0xFFFF;
        const u32 fdp_high = fields.take();
        fpu.instruction_pointer = fip_low | ((fip_high >> 12) << 16);
        fpu.data_pointer = fdp_low | ((fdp_high >> 12) << 16);
        fpu.opcode = static_cast<u16>(fip_high & 0x7FF);
        fpu.instruction_selector = 0;
        fpu.data_selector = 0;
    } else {
        fpu.instruction_pointer = fields.take();
        const u32 selector = fields.take();
        fpu.data_pointer = fields.take();
        fpu.data_selector = static_cast<u16>(fields.take());
        fpu.instruction_selector = static_cast<u16>(selector);
        fpu.opcode = static_cast<u16>((selector >> 16) & 0x7FF);
    }
    x87::update_summary(fpu);
}

// ST(0) first, ten bytes each.
void put_registers(const X87State& fpu, std::span<u8> out) {
    for (unsigned i = 0; i < 8; ++i) {
        const X87State::Register& value = fpu.st[x87::physical(fpu, i)];
        std::memcpy(out.data() + i * 10, &value.significand, 8);
        std::memcpy(out.data() + i * 10 + 8, &value.sign_exponent, 2);
    }
}
void take_registers(X87State& fpu, std::span<const u8> in) {
    for (unsigned i = 0; i < 8; ++i) {
        X87State::Register& value = fpu.st[x87::physical(fpu, i)];
        std::memcpy(&value.significand, in.data() + i * 10, 8);
        std::memcpy(&value.sign_exponent, in.data() + i * 10 + 8, 2);
    }
}

// FNSTENV: stores, then masks all exceptions. FNSAVE: stores the registers too, then initializes.
// Neither waits.
template <bool WithRegisters>
Status exec_store_environment(Vcpu& cpu, const Insn& insn) {
    if (const Status status = require_x87(cpu); status != Status::Next) {
        return status;
    }
    const Layout layout = Layout::of(cpu, insn);
    const unsigned bytes = layout.environment_bytes() + (WithRegisters ? kRegisterBytes : 0);
    const auto seg = static_cast<SegReg>(insn.seg);
    X87State& fpu = cpu.state.x87;
    Buffer buffer{};
    put_environment(fpu, layout, buffer);
    put_registers(fpu, std::span<u8>(buffer).subspan(layout.environment_bytes()));
    LinearAddr linear = 0;
    if (const Status status = area_address(cpu, insn, bytes, true, linear);
        status != Status::Next) {
        return status;
    }
    if (const Status status = probe_area(cpu, linear, bytes, seg); status != Status::Next) {
        return status;
    }
    if (const Status status =
            store_area(cpu, linear, {buffer.data(), bytes}, seg, layout.piece(cpu));
        status != Status::Next) {
        return status;
    }
    if constexpr (WithRegisters) {
        x87_initialize(fpu);
    } else {
        fpu.control = static_cast<u16>(fpu.control | x87::kExceptions);
    }
    x87::update_error_line(cpu);
    return Status::Next;
}

// FLDENV, FRSTOR
template <bool WithRegisters>
Status exec_load_environment(Vcpu& cpu, const Insn& insn) {
    if (const Status status = x87_ready(cpu); status != Status::Next) {
        return status;
    }
    const Layout layout = Layout::of(cpu, insn);
    const unsigned bytes = layout.environment_bytes() + (WithRegisters ? kRegisterBytes : 0);
    Buffer buffer{};
    LinearAddr linear = 0;
    if (const Status status = area_address(cpu, insn, bytes, false, linear);
        status != Status::Next) {
        return status;
    }
    if (const Status status = load_area(cpu, linear, {buffer.data(), bytes},
                                        static_cast<SegReg>(insn.seg), layout.piece(cpu));
        status != Status::Next) {
        return status;
    }
    take_environment(cpu.state.x87, layout, buffer);
    if constexpr (WithRegisters) {
        take_registers(cpu.state.x87,
                       std::span<const u8>(buffer).subspan(layout.environment_bytes()));
    }
    x87::update_error_line(cpu);
    return Status::Next;
}

}  // namespace

ExecFn select_x87_environment(Vcpu& /*cpu*/, Insn& insn) {
    switch (insn.op) {
    case Op::FNSTENV: return exec_store_environment<false>;
    case Op::FNSAVE: return exec_store_environment<true>;
    case Op::FLDENV: return exec_load_environment<false>;
    default: return exec_load_environment<true>;
    }
}

}  // namespace droste
