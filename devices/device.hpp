#pragma once
// What every device is to the board that holds it: a name, a reset, and one list of its fields.
// Ports and memory are PioDevice and MmioDevice (core/bus.hpp), which a device is as well if it has
// them. The board registers a device once (frontends/machine/device_registry.hpp); being on the
// bus, reset, saved, loaded and shown all follow from that.
//
//     class Port92 final : public PioDevice, public Device {
//       public:
//         Port92(IrqLine& a20, IrqLine& cpu_reset);
//         std::string_view name() const override { return "port 92h"; }
//         void reset() override;
//         void state(StateArchive& archive) override { archive("control", control_); }
//     };

#include <string_view>

namespace droste {

class StateArchive;

class Device {
  public:
    Device() = default;
    Device(const Device&) = delete;
    Device& operator=(const Device&) = delete;
    virtual ~Device() = default;

    // The part number, for messages.
    virtual std::string_view name() const = 0;
    // Back to the power-on state, outputs included. Contents that a battery or the outside world
    // holds (CMOS RAM, levels at inputs, the bytes a backend has waiting) stay.
    virtual void reset() = 0;
    // Lists each field that the guest's actions or the passing of time change. Configuration from
    // the constructor and what follows from other fields is not listed.
    virtual void state(StateArchive& archive) = 0;
    // All devices have been loaded: makes what follows from the fields (where a BAR answers, the
    // level of an output) true again.
    virtual void state_loaded() {}
};

}  // namespace droste
