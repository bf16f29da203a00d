#pragma once
// The inputs of a chip, seen from outside as the wires that drive them. The chip has a member
// `set_input(unsigned pin, bool asserted)`, public, and keeps one InputPins.

#include "core/irq_line.hpp"

#include <array>
#include <cstddef>
#include <utility>

namespace droste {

template <typename Chip>
class InputPin final : public IrqLine {
  public:
    InputPin(Chip& chip, unsigned pin) : chip_(chip), pin_(pin) {}
    void set_level(bool asserted) override { chip_.set_input(pin_, asserted); }

  private:
    Chip& chip_;
    unsigned pin_;
};

template <typename Chip, std::size_t kCount>
class InputPins {
  public:
    explicit InputPins(Chip& chip) : InputPins(chip, std::make_index_sequence<kCount>{}) {}

    // Requires: pin < kCount.
    IrqLine& operator[](std::size_t pin) { return pins_[pin]; }

  private:
    template <std::size_t... kPin>
    InputPins(Chip& chip, std::index_sequence<kPin...> /*pins*/)
        : pins_{InputPin<Chip>{chip, unsigned{kPin}}...} {}

    std::array<InputPin<Chip>, kCount> pins_;
};

}  // namespace droste
