#pragma once
// The segment and descriptor-table registers of one side of a VMCS, hidden parts and what is derived
// included, as they lie in CpuState. A VMCS has 36 fields for them; a side that was left with the
// registers it was entered with, or is entered with the fields it was left with, needs one copy.

#include "core/types.hpp"
#include "cpu/x86/state/cpu_state.hpp"

#include <cstddef>

namespace droste {

class SegmentImage {
  public:
    void copy_from(const CpuState& s) {
        const Lane* from = first(s);
#pragma GCC unroll 16
        for (std::size_t i = 0; i < kLanes; ++i) {
            lanes_[i] = from[i];
        }
    }
    void copy_to(CpuState& s) const {
        Lane* to = first(s);
#pragma GCC unroll 16
        for (std::size_t i = 0; i < kLanes; ++i) {
            to[i] = lanes_[i];
        }
    }
    bool equals(const CpuState& s) const {
        const Lane* other = first(s);
        OwnLane differs{};
#pragma GCC unroll 16
        for (std::size_t i = 0; i < kLanes; ++i) {
            differs |= lanes_[i] ^ other[i];
        }
        return (differs[0] | differs[1]) == 0;
    }

  private:
    using Lane [[gnu::vector_size(16), gnu::aligned(8), gnu::may_alias]] = u64;
    // Their addresses are multiples of 16, so that instructions take them as operands.
    using OwnLane [[gnu::vector_size(16), gnu::may_alias]] = u64;

    static constexpr std::size_t kBytes =
        offsetof(CpuState, idtr) + sizeof(DescriptorTable) - offsetof(CpuState, seg);
    static constexpr std::size_t kLanes = kBytes / sizeof(Lane);
    static_assert(kBytes == 8 * sizeof(Segment) + 2 * sizeof(DescriptorTable) &&
                      kBytes % sizeof(Lane) == 0,
                  "the registers lie together in CpuState");

    static const Lane* first(const CpuState& s) {
        return reinterpret_cast<const Lane*>(&s.seg);
    }
    static Lane* first(CpuState& s) {
        return reinterpret_cast<Lane*>(&s.seg);
    }
    OwnLane lanes_[kLanes] = {};  // attributes do not survive as an argument of std::array
};

}  // namespace droste
