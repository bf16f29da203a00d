// Masked moves: only the elements the mask selects are accessed, and only they can fault.

#include "cpu/x86/fpu/exec_vector.hpp"
#include "cpu/x86/fpu/fpu_access.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace droste {
namespace {

// MASKMOVQ, MASKMOVDQU: "Store Selected Bytes".
//   for each byte i: if MASK[i] bit 7 then DS:[rDI + i] := SRC[i]
// A byte not selected is not written, but the manual lets the implementation fault on it. Intel's
// processors store quadwords: each faults as a whole, whatever its mask, the upper one first, and
// nothing is stored if one does.
template <typename T>
bool selected(const T& mask, unsigned byte) {
    return (mask[byte] & 0x80) != 0;
}
template <std::size_t Bytes>
Status store_selected(Vcpu& cpu,
                      const Insn& insn,
                      const std::array<u8, Bytes>& source,
                      const std::array<u8, Bytes>& mask) {
    const auto seg = static_cast<SegReg>(insn.seg);
    const u64 offset_mask = insn.addrsize == 8   ? ~u64{0}
                            : insn.addrsize == 4 ? 0xFFFF'FFFF
                                                 : 0xFFFF;
    constexpr std::size_t kQuads = Bytes / 8;
    std::array<LinearAddr, kQuads> linear{};
    for (std::size_t quad = kQuads; quad-- != 0;) {
        const u64 offset = (cpu.state.gpr[RDI] + quad * 8) & offset_mask;
        if (const Status status = linear_address(cpu, seg, offset, 8, true, linear[quad]);
            status != Status::Next) {
            return status;
        }
        if (const Status status = probe_store(cpu, linear[quad], 8, seg); status != Status::Next) {
            return status;
        }
    }
    for (unsigned i = 0; i < Bytes; ++i) {
        if (selected(mask, i)) {
            const LinearAddr byte = linear[i / 8] + i % 8;
            if (const Status status = store_linear(
                    cpu, cpu.mode.long_mode64 ? byte : static_cast<u32>(byte), source[i], seg);
                status != Status::Next) {
                return status;
            }
        }
    }
    return Status::Next;
}

Status exec_maskmovq(Vcpu& cpu, const Insn& insn) {
    if (const Status status = require_mmx(cpu); status != Status::Next) {
        return status;
    }
    std::array<u8, 8> source;
    std::array<u8, 8> mask;
    std::memcpy(source.data(), &cpu.state.x87.st[insn.reg & 7].significand, 8);
    std::memcpy(mask.data(), &cpu.state.x87.st[insn.rm & 7].significand, 8);
    enter_mmx(cpu.state.x87);  // also if the store faults
    return store_selected(cpu, insn, source, mask);
}

Status exec_maskmovdqu(Vcpu& cpu, const Insn& insn) {
    if (const Status status = require_vector(cpu, insn); status != Status::Next) {
        return status;
    }
    std::array<u8, 16> source;
    std::array<u8, 16> mask;
    std::memcpy(source.data(), cpu.state.ymm[insn.reg].bytes.data(), 16);
    std::memcpy(mask.data(), cpu.state.ymm[insn.rm].bytes.data(), 16);
    return store_selected(cpu, insn, source, mask);
}

// VMASKMOVPS/PD, VPMASKMOVD/Q: "Conditional SIMD Packed Loads and Stores", "Conditional SIMD
// Integer Packed Loads and Stores".
//   load:  DEST[i] := MASK[i] sign bit ? MEM[i] : 0;
//   store: if MASK[i] sign bit then MEM[i] := SRC[i]
// Elements lie at consecutive offsets, each checked as an access of its own; "faults will not occur
// due to referencing any memory location if the corresponding mask bit for that memory location is
// zero". Never #AC.
template <typename T>
Status element_address(Vcpu& cpu, const Insn& insn, unsigned i, bool write, LinearAddr& linear) {
    const u64 offset = effective_offset(cpu, insn) + i * sizeof(T);
    const u64 offset_mask = insn.addrsize == 8   ? ~u64{0}
                            : insn.addrsize == 4 ? 0xFFFF'FFFF
                                                 : 0xFFFF;
    return linear_address(cpu, static_cast<SegReg>(insn.seg), offset & offset_mask, sizeof(T),
                          write, linear);
}

template <typename T>
std::array<T, 32 / sizeof(T)> elements_of(const Ymm& value) {
    std::array<T, 32 / sizeof(T)> elements;
    std::memcpy(elements.data(), value.bytes.data(), 32);
    return elements;
}

template <typename T>
bool sign_of(T value) {
    return (value >> (sizeof(T) * 8 - 1)) != 0;
}

template <typename T>
Status exec_masked_load(Vcpu& cpu, const Insn& insn) {
    if (const Status status = require_vector(cpu, insn); status != Status::Next) {
        return status;
    }
    const auto mask = elements_of<T>(cpu.state.ymm[insn.vvvv]);
    std::array<T, 32 / sizeof(T)> result{};
    for (unsigned i = 0; i < insn.width / sizeof(T); ++i) {
        if (!sign_of(mask[i])) {
            continue;
        }
        LinearAddr linear = 0;
        if (const Status status = element_address<T>(cpu, insn, i, false, linear);
            status != Status::Next) {
            return status;
        }
        if (const Status status =
                load_any_alignment(cpu, linear, result[i], static_cast<SegReg>(insn.seg));
            status != Status::Next) {
            return status;
        }
    }
    std::memcpy(cpu.state.ymm[insn.reg].bytes.data(), result.data(), 32);
    return Status::Next;
}

// A store that begins in one page and ends in another is translated at its first byte and at its
// last, so CR2 is one of these: a store without a mask has the beginning of the second page there.
template <typename T>
Status probe_ends(Vcpu& cpu, LinearAddr first, LinearAddr last, SegReg seg) {
    const LinearAddr end = last + sizeof(T) - 1;
    if (((first ^ end) & kPageMask) == 0) [[likely]] {
        return Status::Next;  // the elements' own will do
    }
    const Status status = probe_store(cpu, first, 1, seg);
    return status == Status::Next ? probe_store(cpu, end, 1, seg) : status;
}

template <typename T>
Status exec_masked_store(Vcpu& cpu, const Insn& insn) {
    if (const Status status = require_vector(cpu, insn); status != Status::Next) {
        return status;
    }
    const auto seg = static_cast<SegReg>(insn.seg);
    const auto mask = elements_of<T>(cpu.state.ymm[insn.vvvv]);
    const auto source = elements_of<T>(cpu.state.ymm[insn.reg]);
    const unsigned count = insn.width / sizeof(T);
    std::array<LinearAddr, 32 / sizeof(T)> linear{};
    unsigned first = count;
    unsigned last = 0;
    for (unsigned i = 0; i < count; ++i) {
        if (!sign_of(mask[i])) {
            continue;
        }
        if (const Status status = element_address<T>(cpu, insn, i, true, linear[i]);
            status != Status::Next) {
            return status;
        }
        first = std::min(first, i);
        last = i;
    }
    if (first == count) {
        return Status::Next;
    }
    if (const Status status = probe_ends<T>(cpu, linear[first], linear[last], seg);
        status != Status::Next) {
        return status;
    }
    for (unsigned i = first; i <= last; ++i) {
        if (!sign_of(mask[i])) {
            continue;
        }
        if (const Status status = probe_any_alignment<T>(cpu, linear[i], seg);
            status != Status::Next) {
            return status;
        }
    }
    for (unsigned i = 0; i < count; ++i) {
        if (sign_of(mask[i])) {
            if (const Status status = store_any_alignment(cpu, linear[i], source[i], seg);
                status != Status::Next) {
                return status;
            }
        }
    }
    return Status::Next;
}

}  // namespace

ExecFn select_maskmov_implicit(Vcpu& /*cpu*/, Insn& insn) {
    return insn.op == Op::MASKMOVQ ? exec_maskmovq : exec_maskmovdqu;
}

ExecFn select_maskmov(Vcpu& /*cpu*/, Insn& insn) {
    const bool quad = insn.op == Op::VMASKMOVPD || insn.op == Op::VPMASKMOVQ;
    if (insn.form == Form::EBG) {
        return quad ? exec_masked_store<u64> : exec_masked_store<u32>;
    }
    return quad ? exec_masked_load<u64> : exec_masked_load<u32>;
}

}  // namespace droste
