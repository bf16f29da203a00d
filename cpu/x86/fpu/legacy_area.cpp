// See legacy_area.hpp.

#include "cpu/x86/fpu/legacy_area.hpp"

#include "cpu/x86/fpu/exec_vector.hpp"
#include "cpu/x86/fpu/x87_state.hpp"

#include <cstring>

namespace droste {
namespace {

template <typename T>
void put(std::span<u8> area, std::size_t offset, T value) {
    std::memcpy(area.data() + offset, &value, sizeof(T));
}
template <typename T>
T take(std::span<const u8> area, std::size_t offset) {
    T value;
    std::memcpy(&value, area.data() + offset, sizeof(T));
    return value;
}

}  // namespace

void put_legacy_x87(const X87State& fpu, bool wide_pointers, std::span<u8> area) {
    put<u16>(area, 0, fpu.control);
    put<u16>(area, 2, fpu.status);
    put<u16>(area, 4, fpu.tag_valid);
    put<u16>(area, 6, fpu.opcode);
    if (wide_pointers) {
        put<u64>(area, 8, fpu.instruction_pointer);
        put<u64>(area, 16, fpu.data_pointer);
    } else {
        put<u32>(area, 8, static_cast<u32>(fpu.instruction_pointer));
        put<u32>(area, 12, fpu.instruction_selector);
        put<u32>(area, 16, static_cast<u32>(fpu.data_pointer));
        put<u32>(area, 20, fpu.data_selector);
    }
    for (unsigned i = 0; i < 8; ++i) {
        const X87State::Register& value = fpu.st[x87::physical(fpu, i)];
        put<u64>(area, legacy_area::kRegisters + 16 * i, value.significand);
        put<u64>(area, legacy_area::kRegisters + 16 * i + 8, value.sign_exponent);
    }
}

void put_legacy_mxcsr(const CpuState& state, std::span<u8> area) {
    put<u32>(area, legacy_area::kMxcsr, state.mxcsr);
    put<u32>(area, legacy_area::kMxcsrMask, kMxcsrMask);
}

void put_legacy_xmm(const Vcpu& cpu, std::span<u8> area) {
    for (unsigned i = 0; i < xmm_count(cpu); ++i) {
        std::memcpy(area.data() + legacy_area::kXmm + 16 * i, cpu.state.ymm[i].bytes.data(), 16);
    }
}

void take_legacy_x87(Vcpu& cpu, bool wide_pointers, std::span<const u8> area) {
    X87State& fpu = cpu.state.x87;
    fpu.control = x87::loadable_control(take<u16>(area, 0));
    fpu.status = take<u16>(area, 2);
    fpu.tag_valid = take<u8>(area, 4);
    fpu.opcode = take<u16>(area, 6) & 0x7FF;
    if (wide_pointers) {
        fpu.instruction_pointer = take<u64>(area, 8);
        fpu.data_pointer = take<u64>(area, 16);
        fpu.instruction_selector = 0;
        fpu.data_selector = 0;
    } else {
        const bool zero_selectors = cpu.features.has(Feature::ZERO_FCS_FDS);
        fpu.instruction_pointer = take<u32>(area, 8);
        fpu.instruction_selector = zero_selectors ? u16{0} : take<u16>(area, 12);
        fpu.data_pointer = take<u32>(area, 16);
        fpu.data_selector = zero_selectors ? u16{0} : take<u16>(area, 20);
    }
    for (unsigned i = 0; i < 8; ++i) {
        X87State::Register& value = fpu.st[x87::physical(fpu, i)];
        value.significand = take<u64>(area, legacy_area::kRegisters + 16 * i);
        value.sign_exponent = take<u16>(area, legacy_area::kRegisters + 16 * i + 8);
    }
    x87::update_error_line(cpu);
}

void take_legacy_xmm(Vcpu& cpu, std::span<const u8> area) {
    for (unsigned i = 0; i < xmm_count(cpu); ++i) {
        std::memcpy(cpu.state.ymm[i].bytes.data(), area.data() + legacy_area::kXmm + 16 * i, 16);
    }
}

u32 legacy_mxcsr(std::span<const u8> area) {
    return take<u32>(area, legacy_area::kMxcsr);
}

}  // namespace droste
