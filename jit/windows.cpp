#include "jit/windows.hpp"

#include "cpu/x86/vcpu.hpp"
#include "jit/assembly.hpp"

#include <algorithm>

namespace droste::jit {

namespace {

constexpr i64 kMostBytes = 1024;
constexpr i64 kMostDisplacement = 0x7FFF'FFFF - 2 * kMostBytes;
constexpr i64 kLeastDisplacement = -kMostDisplacement;

class Planner {
  public:
    Planner(std::vector<Window>& windows, bool steps) : windows_(windows), steps_(steps) {}

    WindowPlan::Use place(OperandAccess access, unsigned item) {
        const i64 stepped =
            stepped_[access.base] +
            (access.index == kZeroSlot ? 0 : stepped_[access.index] << access.scale);
        // The lowest byte of a window must be in reach of each access.
        if (access.disp < kLeastDisplacement || access.disp > kMostDisplacement) {
            return {};
        }
        access.disp += stepped + (access.base == RSP ? moved_ : 0);
        for (std::size_t i = windows_.size(); i-- > 0;) {
            Window& w = windows_[i];
            const i64 low = std::min(w.low, access.disp);
            const i64 high = std::max(w.high, access.disp + access.bytes);
            if (w.by.base == access.base && w.by.index == access.index &&
                w.by.scale == access.scale && w.versions == versions_of(access) &&
                high - low <= kMostBytes && align(w, access)) {
                w.low = low;
                w.high = high;
                w.write |= access.write;
                w.last = item;
                ++w.uses;
                return {static_cast<int>(i), stepped};
            }
        }
        windows_.push_back({.by = access,
                            .versions = versions_of(access),
                            .low = access.disp,
                            .high = access.disp + access.bytes,
                            .alignment = access.aligned ? access.bytes : 0,
                            .aligned_at = access.disp,
                            .write = access.write,
                            .uses = 1,
                            .last = item});
        return {static_cast<int>(windows_.size() - 1), stepped};
    }

    void after(const RegisterEffect& effect) {
        if (!effect.known) {
            for (u32& version : versions_) {
                ++version;
            }
            stepped_ = {};
            moved_ = 0;
            return;
        }
        for (unsigned reg = 0; reg < 16; ++reg) {
            if ((effect.writes >> reg & 1) == 0) {
                continue;
            }
            if (steps_ && reg == effect.stepped) {
                stepped_[reg] += effect.step;
            } else {
                ++versions_[reg];
                stepped_[reg] = 0;
            }
        }
        moved_ = (effect.writes >> RSP & 1) != 0 ? 0 : moved_ + effect.moves_stack;
    }

  private:
    // Whether one check can do for the access's alignment, too.
    static bool align(Window& w, const OperandAccess& access) {
        if (!access.aligned) {
            return true;
        }
        const i64 least = w.alignment != 0 ? std::min(w.alignment, access.bytes) : 1;
        if ((access.disp - w.aligned_at) % least != 0) {
            return false;
        }
        if (access.bytes > w.alignment) {
            w.alignment = access.bytes;
            w.aligned_at = access.disp;
        }
        return true;
    }
    std::array<u32, 2> versions_of(const OperandAccess& access) const {
        return {versions_[access.base], access.index == kZeroSlot ? 0 : versions_[access.index]};
    }

    std::vector<Window>& windows_;
    bool steps_;
    std::array<u32, 16> versions_{};
    std::array<i64, 16> stepped_{};
    i64 moved_ = 0;
};

}  // namespace

WindowPlan plan_windows(const std::vector<Item>& items, WindowKinds wanted) {
    WindowPlan plan;
    plan.of_item.resize(items.size());
    if (wanted == WindowKinds::None) {
        return plan;
    }
    Planner planner{plan.windows, wanted == WindowKinds::All};
    for (unsigned i = 0; i < items.size(); ++i) {
        const RegisterEffect& effect = items[i].registers;
        for (unsigned k = 0; k < effect.count; ++k) {
            if (effect.accesses[k].bytes != 0) {
                plan.of_item[i][k] = planner.place(effect.accesses[k], i);
            }
        }
        planner.after(effect);
    }
    // One access gains nothing; and there are only so many places.
    unsigned places = 0;
    for (Window& w : plan.windows) {
        if (w.uses > 1 && places < TranslatedCode::kWindows) {
            w.place = places++;
            if (w.alignment != 0) {
                // Whole parts: no page is left by it that was not left before.
                const i64 part = w.alignment;
                w.low -= ((w.low - w.aligned_at) % part + part) % part;
                w.high += (part - (w.high - w.low) % part) % part;
            }
        } else {
            w.uses = 0;
        }
    }
    for (auto& of_item : plan.of_item) {
        for (WindowPlan::Use& use : of_item) {
            if (use.window != kNoWindow &&
                plan.windows[static_cast<std::size_t>(use.window)].uses == 0) {
                use.window = kNoWindow;
            }
        }
    }
    return plan;
}

}  // namespace droste::jit
