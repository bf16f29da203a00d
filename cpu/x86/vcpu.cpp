#include "cpu/x86/vcpu.hpp"

#include "core/clock.hpp"
#include "core/guest_memory.hpp"
#include "cpu/x86/apic/local_apic.hpp"
#include "cpu/x86/fpu/thunk_cache.hpp"
#include "cpu/x86/interp/block_cache.hpp"
#include "cpu/x86/model/msr.hpp"
#include "cpu/x86/model/native_features.hpp"

#include <cstddef>
#include <type_traits>
#include <utility>

namespace droste {

namespace {

// What generated code addresses by displacement from the vCPU: the registers in the first 128 bytes
// or close behind them, and the words it looks at between blocks beside each other.
static_assert(std::is_standard_layout_v<CpuState>);
static_assert(offsetof(CpuState, gpr) == 0);
static_assert(offsetof(CpuState, flags) == 18 * sizeof(u64));
static_assert(offsetof(CpuState, rflags_system) == 20 * sizeof(u64));
static_assert(offsetof(CpuState, ymm) % sizeof(Ymm) == 0);
static_assert(sizeof(std::atomic<u32>) == sizeof(u32) && std::atomic<u32>::is_always_lock_free);
// Vcpu has references among its members, so the language promises nothing; the compilers we build
// with do, and say so where they do not.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winvalid-offsetof"
static_assert(offsetof(Vcpu, state) == 0);
static_assert(offsetof(Vcpu, attention_mask) == offsetof(Vcpu, attention) + sizeof(u32));
static_assert(offsetof(Vcpu, leave) - offsetof(Vcpu, attention) < 64);
#pragma GCC diagnostic pop

}  // namespace

Vcpu::Vcpu(u32 vcpu_index, const Wiring& wiring, const CpuFeatures& cpu_features)
    : index(vcpu_index)
    , memory(wiring.memory)
    , bus(wiring.bus)
    , clock(wiring.clock)
    , events(wiring.events)
    , log(wiring.log)
    , features(cpu_features)
    , apic(std::make_unique<LocalApic>(*this))
    , msrs(std::make_unique<MsrStore>(cpu_features)) {
    mode.data_tlb = tlb.empty_table();
    mode.shadow_tlb = tlb.current().shadow.data();
    memory.code_pages().add(tlb);
}

Vcpu::~Vcpu() {
    memory.code_pages().remove(tlb);
}

// The instructions of the block before the one at RIP: found by their lengths, so that the engine
// need not store a position for each. A block begins and goes on in one page (only its last
// instruction may reach out of it), so offsets in the page tell how far RIP has come.
u64 Vcpu::retired_in_block() const {
    if (block == nullptr) {
        return 0;
    }
    const u64 distance = (state.rip() - block_rip) % kPageBytes;
    u64 passed = 0;
    for (u64 i = 0; i < block->count; ++i) {
        if (passed == distance) {
            return i;
        }
        passed += block->insns[i].length;
    }
    return block->count - 1U;  // it has branched, so it was the last
}

void Vcpu::close_block() {
    icount = retired();
    block = nullptr;
}

void Vcpu::charge(u64 instructions) {
    icount += instructions;
    // The block was to run to the budget's end at most.
    if (instructions != 0 && icount + kMaxBlockInsns >= icount_limit) {
        leave_block(leave::kTime);
    }
}

void drive_clock(Vcpu& cpu) {
    cpu.clock.set_counter(
        &cpu.icount,
        [](const void* context) { return static_cast<const Vcpu*>(context)->retired_in_block(); },
        &cpu);
}

u64 Vcpu::tsc() const {
    return clock.now_ns() + state.tsc_offset;
}

void share_code(Vcpu& first, Vcpu& other) {
    other.blocks = first.blocks;
    other.thunks = first.thunks;
    other.blocks->attach(other);
}

Expected<void> own_code(Vcpu& cpu) {
    return own_code(cpu, NativeFeatures{});
}

Expected<void> own_code(Vcpu& cpu, const NativeFeatures& native) {
    auto thunks = ThunkCache::create(native.has(Feature::AVX));
    if (!thunks) {
        return thunks.error();
    }
    cpu.thunks = std::move(thunks).value();
    cpu.blocks = std::make_shared<BlockCache>(cpu.memory);
    cpu.blocks->attach(cpu);
    return {};
}

void set_a20(Vcpu& cpu, bool enabled) {
    if (cpu.a20_enabled != enabled) {
        stop_other_vcpus(cpu);
        cpu.a20_enabled = enabled;
        cpu.tlb.flush_all(cpu);
    }
}

}  // namespace droste
