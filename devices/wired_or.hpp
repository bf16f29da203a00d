#pragma once
// Several outputs on one wire: asserted while any of them is. ISA boards share an IRQ this way
// (COM1 and COM3 on IRQ 4), and the A20 gate is the OR of its two controllers.

#include "devices/input_pin.hpp"

#include <array>
#include <cstddef>
#include <utility>

namespace droste {

template <std::size_t kInputs>
class WiredOr {
  public:
    explicit WiredOr(IrqLine& output)
        : WiredOr(output, std::make_integer_sequence<unsigned, unsigned{kInputs}>{}) {}
    WiredOr(const WiredOr&) = delete;
    WiredOr& operator=(const WiredOr&) = delete;

    // Requires: n < kInputs.
    IrqLine& input(std::size_t n) { return pins_[n]; }

    void set_input(unsigned pin, bool asserted) {
        levels_[pin] = asserted;
        bool any = false;
        for (const bool level : levels_) {
            any = any || level;
        }
        output_.set_level(any);
    }

  private:
    template <unsigned... kPin>
    WiredOr(IrqLine& output, std::integer_sequence<unsigned, kPin...> /*pins*/)
        : output_(output)
        , pins_{InputPin<WiredOr>{*this, kPin}...} {}

    IrqLine& output_;
    std::array<InputPin<WiredOr>, kInputs> pins_;
    std::array<bool, kInputs> levels_{};
};

}  // namespace droste
