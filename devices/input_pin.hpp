#pragma once
// An input of a chip, seen from outside as the wire that drives it. The chip has a member
// `set_input(unsigned pin, bool asserted)` and keeps one InputPin for each of its pins.

#include "core/irq_line.hpp"

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

}  // namespace droste
