#pragma once
// A wire that carries an interrupt request or a similar level. Devices drive it, the board connects
// it.

namespace droste {

class IrqLine {
  public:
    IrqLine() = default;
    IrqLine(const IrqLine&) = delete;
    IrqLine& operator=(const IrqLine&) = delete;
    virtual ~IrqLine() = default;

    // Drives the wire; repeating the same level must have no effect.
    virtual void set_level(bool asserted) = 0;
    void pulse() {
        set_level(true);
        set_level(false);
    }
};

}  // namespace droste
