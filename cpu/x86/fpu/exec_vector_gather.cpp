// VGATHER*, VPGATHER*: "Gather Packed ... Values Using Signed Dword/Qword Indices".
//
//   for each element i whose mask element has its sign set:
//       DEST[i] := MEM[base + sign_extend(VINDEX[i]) * scale + disp];  MASK[i] := 0
//   upper and unselected destination elements as the manual says;  MASK := 0
//
// No alignment checks: "this instruction does not perform AC checks".
//
// A fault is delivered with the elements gathered so far written and their mask elements cleared,
// so that the instruction can be restarted. That is the one instruction here that changes registers
// before its last fault, and it says so in the manual: "If a fault is triggered by an element ...
// all elements closer to the LSB of the destination will be completed".

#include "cpu/x86/fpu/exec_vector.hpp"
#include "cpu/x86/fpu/fpu_access.hpp"

#include <array>
#include <cstring>

namespace droste {
namespace {

template <typename T>
T element(const Ymm& value, unsigned i) {
    T result;
    std::memcpy(&result, value.bytes.data() + i * sizeof(T), sizeof(T));
    return result;
}
template <typename T>
void set_element(Ymm& value, unsigned i, T element_value) {
    std::memcpy(value.bytes.data() + i * sizeof(T), &element_value, sizeof(T));
}

// insn.index is a vector register.
template <typename Index>
u64 gather_offset(const Vcpu& cpu, const Insn& insn, unsigned i) {
    const u64 index = sign_extend(element<Index>(cpu.state.ymm[insn.index], i), kBitsOf<Index>);
    const u64 offset =
        cpu.state.gpr[insn.base] + (index << insn.scale) + static_cast<u64>(insn.disp);
    return insn.addrsize == 8 ? offset : static_cast<u32>(offset);
}

// MASK[i] := all ones if its sign is set, else 0; nothing beyond the elements.
template <typename Data>
void widen_mask(Ymm& mask, unsigned count) {
    Ymm wide;
    for (unsigned i = 0; i < count; ++i) {
        set_element<Data>(
            wide, i,
            (element<Data>(mask, i) >> (kBitsOf<Data> - 1)) != 0 ? static_cast<Data>(~Data{0}) : 0);
    }
    mask = wide;
}

template <typename Data, typename Index>
Status exec_gather(Vcpu& cpu, const Insn& insn) {
    // "If any pair of the index, mask, or destination registers are the same, this instruction
    // results a #UD fault."
    if (insn.reg == insn.index || insn.reg == insn.vvvv || insn.index == insn.vvvv) {
        return raise(cpu, Exception::UD);
    }
    if (const Status status = require_vector(cpu, insn); status != Status::Next) {
        return status;
    }
    const unsigned count =
        insn.width /
        static_cast<unsigned>(sizeof(Data) > sizeof(Index) ? sizeof(Data) : sizeof(Index));
    const auto seg = static_cast<SegReg>(insn.seg);
    Ymm& dest = cpu.state.ymm[insn.reg];
    Ymm& mask = cpu.state.ymm[insn.vvvv];
    widen_mask<Data>(mask, count);
    for (unsigned i = 0; i < count; ++i) {
        if (element<Data>(mask, i) == 0) {
            continue;
        }
        LinearAddr linear = 0;
        Data value = 0;
        Status status = linear_address(cpu, seg, gather_offset<Index>(cpu, insn, i), sizeof(Data),
                                       false, linear);
        if (status == Status::Next) {
            status = load_any_alignment(cpu, linear, value, seg);
        }
        if (status != Status::Next) {
            return status;
        }
        set_element(dest, i, value);
        set_element<Data>(mask, i, 0);
    }
    const std::size_t used = count * sizeof(Data);
    std::memset(dest.bytes.data() + used, 0, 32 - used);
    return Status::Next;
}

struct GatherRow {
    Op op;
    ExecFn exec;
};
constexpr auto kGathers = std::to_array<GatherRow>({
    {Op::VGATHERDPS, exec_gather<u32, u32>},
    {Op::VGATHERQPS, exec_gather<u32, u64>},
    {Op::VGATHERDPD, exec_gather<u64, u32>},
    {Op::VGATHERQPD, exec_gather<u64, u64>},
    {Op::VPGATHERDD, exec_gather<u32, u32>},
    {Op::VPGATHERQD, exec_gather<u32, u64>},
    {Op::VPGATHERDQ, exec_gather<u64, u32>},
    {Op::VPGATHERQQ, exec_gather<u64, u64>},
});

}  // namespace

ExecFn select_gather(Vcpu& /*cpu*/, Insn& insn) {
    for (const GatherRow& row : kGathers) {
        if (row.op == insn.op) {
            return row.exec;
        }
    }
    return nullptr;
}

}  // namespace droste
