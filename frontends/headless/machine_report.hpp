#pragma once
// A machine's state and counters as text, for the monitor and --stats.

#include "frontends/machine/pc.hpp"

#include <chrono>
#include <optional>
#include <string>

namespace droste {

std::string describe_registers(const Pc& pc);
// `elapsed`: native time of the run, for rates.
std::string describe_counters(Pc& pc, std::optional<std::chrono::nanoseconds> elapsed);

}  // namespace droste
