#pragma once
// One PCI function: its 256 bytes of configuration space. PCI Local Bus Specification 3.0,
// "Configuration Space".
//
// A byte of configuration space is what reset made it, plus the bits of its write mask that the
// guest changed. That alone gives BAR sizing. A subclass that answers accesses learns from
// bar_moved() where each of its BARs is, or that it is nowhere.

#include "core/irq_line.hpp"
#include "core/types.hpp"
#include "devices/device.hpp"
#include "devices/state_archive.hpp"

#include <array>
#include <optional>

namespace droste {

struct PciIdentity {
    u16 vendor = 0;
    u16 device = 0;
    u32 class_code = 0;  // base class, subclass, interface: 24 bits
    u8 revision = 0;
    u8 interrupt_pin = 0;  // 1 = INTA#, 0 = none
    u16 subsystem_vendor = 0x1AF4;
    u16 subsystem = 0x1100;
};

class PciDevice : public Device {
  public:
    static constexpr unsigned kConfigBytes = 256;
    static constexpr unsigned kBars = 6;
    enum class BarKind : u8 { Io, Memory };

    explicit PciDevice(const PciIdentity& identity);

    // `size` is 1, 2 or 4, and the access lies within configuration space.
    u32 config_read(unsigned offset, unsigned size) const;
    void config_write(unsigned offset, unsigned size, u32 value);

    void reset() override { restore(); }
    // Subclasses list their own fields behind these.
    void state(StateArchive& archive) override {
        archive("config", config_);
        archive("intx_asserted", intx_asserted_);
    }
    void state_loaded() override { refresh(); }

    // Where INTx# of this function goes.
    void connect_intx(IrqLine* line) { intx_ = line; }
    void mark_multifunction() { initial_[kHeaderType] = config_[kHeaderType] = kMultifunction; }

  protected:
    static constexpr unsigned kCommand = 0x04;
    static constexpr unsigned kStatus = 0x06;
    static constexpr unsigned kHeaderType = 0x0E;
    static constexpr unsigned kBar0 = 0x10;
    static constexpr unsigned kInterruptLine = 0x3C;
    static constexpr unsigned kInterruptPin = 0x3D;

    // For constructors. `bytes` is a power of two, at least 16.
    void add_bar(unsigned index, BarKind kind, u32 bytes);
    // The reset value of a register, and which of its bits the guest may write.
    void define(unsigned offset, unsigned size, u32 value, u32 writable);

    u8 config(unsigned offset) const { return config_[offset]; }
    void set_intx(bool asserted);

    // Bytes offset..offset+size-1 were written (or reset: all of them).
    virtual void config_written(unsigned /*offset*/, unsigned /*size*/) {}
    // The BAR now decodes at `base`, or no longer.
    virtual void bar_moved(unsigned /*index*/, std::optional<u32> /*base*/) {}

  private:
    static constexpr u8 kMultifunction = 0x80;

    struct Bar {
        u32 bytes = 0;  // 0 = not implemented
        BarKind kind = BarKind::Memory;
        std::optional<u32> base;
    };

    void restore();
    // Finds out again where the BARs are, and calls config_written() for everything.
    void refresh();
    void update_bars();
    void update_intx();

    std::array<u8, kConfigBytes> initial_{};
    std::array<u8, kConfigBytes> writable_{};
    std::array<u8, kConfigBytes> config_{};
    std::array<Bar, kBars> bars_{};
    IrqLine* intx_ = nullptr;
    bool intx_asserted_ = false;
};

}  // namespace droste
