#pragma once
// The map of RAM and reserved ranges that firmware reports (INT 15h AX=E820h), which every loader
// passes on in its own format. ACPI specification, "System Address Map Interfaces".

#include "core/types.hpp"

#include <vector>

namespace droste {

enum class E820Type : u32 { Ram = 1, Reserved = 2, AcpiReclaimable = 3, AcpiNvs = 4 };

struct E820Entry {
    PhysAddr first;
    u64 bytes;
    E820Type type;

    bool operator==(const E820Entry&) const = default;
};

// Ascending and not overlapping. `acpi_area`: the top of low RAM holds our ACPI tables.
std::vector<E820Entry> make_e820(u64 low_bytes, u64 high_bytes, bool acpi_area);

// The end of low RAM that loaders may use.
PhysAddr usable_low_end(u64 low_bytes);

}  // namespace droste
