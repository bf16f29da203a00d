#include "cpu/x86/vcpu.hpp"

#include "core/clock.hpp"
#include "core/guest_memory.hpp"
#include "cpu/x86/apic/local_apic.hpp"
#include "cpu/x86/fpu/thunk_cache.hpp"
#include "cpu/x86/interp/block_cache.hpp"
#include "cpu/x86/model/msr.hpp"

#include <utility>

namespace droste {

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
    data_tlb = tlb.empty_table();
    memory.code_pages().add(tlb);
}

Vcpu::~Vcpu() {
    memory.code_pages().remove(tlb);
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
    auto thunks = ThunkCache::create();
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
        cpu.a20_enabled = enabled;
        cpu.tlb.flush_all(cpu);
    }
}

}  // namespace droste
