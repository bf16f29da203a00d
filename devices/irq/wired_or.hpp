#pragma once
// Several outputs on one wire: asserted while any of them is. ISA boards share an IRQ this way
// (COM1 and COM3 on IRQ 4), and the A20 gate is the OR of its two controllers.

#include "devices/device.hpp"
#include "devices/irq/input_pin.hpp"
#include "devices/state_archive.hpp"

#include <array>
#include <cstddef>

namespace droste {

template <std::size_t kInputs>
class WiredOr final : public Device {
  public:
    explicit WiredOr(IrqLine& output) : output_(output), pins_(*this) {}

    std::string_view name() const override { return "wired OR"; }
    void reset() override {}
    void state(StateArchive& archive) override {
        archive.over_reset([&] { archive("levels", levels_); });
    }
    void state_loaded() override { drive(); }

    // Requires: n < kInputs.
    IrqLine& input(std::size_t n) { return pins_[n]; }

    void set_input(unsigned pin, bool asserted) {
        levels_[pin] = asserted;
        drive();
    }

  private:
    void drive() {
        bool any = false;
        for (const bool level : levels_) {
            any = any || level;
        }
        output_.set_level(any);
    }

    IrqLine& output_;
    InputPins<WiredOr, kInputs> pins_;
    std::array<bool, kInputs> levels_{};
};

}  // namespace droste
