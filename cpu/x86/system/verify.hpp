#pragma once
// Checks what a vCPU derives and caches against what it was made from.
//
// Problem: a forgotten mode_changed(), a tag that outlived its right or a stale key shows as the
// guest's crash, millions of instructions later. Choice: state each invariant once and ask at the
// boundaries of debug builds, a slice of the TLB at a time; tests ask for all of it.
//
//   derived state    equals what mode_changed() makes of the registers now; so do segment checks
//                    and the mask of pending events
//   context          is the one that the registers, VPID and EPT name
//   data tags        lie in their slot, are canonical; a write tag implies the read tag; the addend
//                    leads to the page's RAM (ROM for reading), no device, no watched page; a write
//                    tag implies no decoded code there and a dirty leaf
//   every tag        a walk now would allow the same, to the same page
//
// A guest may change its tables and invalidate later: until then its old translations are right.
// Debug builds know them by the chain of entries they were made from (kTlbKeepsChains); release
// builds take every difference for a fault, so only tests of still tables call it there.

#include "core/assert.hpp"
#include "cpu/x86/vcpu.hpp"

namespace droste {

// The first invariant broken, as a sentence; nullptr if none is. Changes nothing else than what it
// finds wrong in derived state.
const char* verify(Vcpu& cpu);

// The derived state, and one slice of the TLB that moves on with the blocks entered.
const char* verify_slice(Vcpu& cpu);

// For the engine, between blocks: nothing in release builds.
inline void verify_boundary([[maybe_unused]] Vcpu& cpu) {
    if constexpr (kTlbKeepsChains) {
        if (const char* broken = verify_slice(cpu)) {
            assertion_failed(broken, __FILE__, __LINE__);
        }
    }
}

}  // namespace droste
