#pragma once
#include "core/assert.hpp"
#include "cpu/x86/vcpu.hpp"
#include "jit/translator.hpp"

namespace droste::jit {

// Whether an instruction in the midst of a translation has left everything as it was that the code
// behind it stands on.
class Standing {
  public:
    Standing(Vcpu& cpu, u32 key)
        : context_(cpu.tlb.current())
        , data_tlb_(cpu.mode.data_tlb)
        , generation_(cpu.tlb.generation())
        , epochs_(context_.data_epochs)
        , key_(key) {
        DROSTE_DEBUG_ASSERT(translation_key(cpu) == key);
    }
    bool holds(const Vcpu& cpu) const {
        return cpu.tlb.generation() == generation_ && translation_key(cpu) == key_ &&
               cpu.mode.data_tlb == data_tlb_ && context_.data_epochs == epochs_;
    }

  private:
    const TlbContext& context_;
    const DataTlb* const data_tlb_;
    const u64 generation_;
    const HalfEpochs epochs_;
    const u32 key_;
};

}  // namespace droste::jit
