#pragma once
// The monitor behind Ctrl-A c: a few commands to look at the machine and to stop and go.

#include "core/char_backend.hpp"
#include "frontends/machine/pc.hpp"
#include "frontends/machine/run_control.hpp"

#include <string>
#include <string_view>

namespace droste {

class Monitor final : public CharReceiver {
  public:
    // Borrows all; becomes the receiver of `console`.
    Monitor(CharBackend& console, Pc& pc, RunControl& control);
    ~Monitor() override;

    void prompt();
    // Carries out one line and returns what it prints.
    std::string execute(std::string_view line);

    std::size_t receive_room() const override { return 256; }
    void receive(std::span<const u8> bytes) override;

  private:
    void print(std::string_view text);

    CharBackend& console_;
    Pc& pc_;
    RunControl& control_;
    std::string line_;
};

}  // namespace droste
