#pragma once
// The ACPI tables of the machine: made once as blocks of bytes with the places where they point to
// each other, so that the same tables can be put in memory at fixed addresses (direct kernel boot)
// or handed to firmware through fw_cfg, which then places and links them. Advanced Configuration
// and Power Interface Specification 6.0, "ACPI Software Programming Model".

#include "core/types.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace droste {

struct AcpiConfig {
    u32 vcpu_count = 1;
    u8 serial_ports = 0;  // bit n: COM(n+1) exists
    PhysAddr pci_window_base = 0xC000'0000;
};

struct AcpiTables {
    // A block is placed as a whole; the name is its fw_cfg file's.
    enum BlockIndex : std::size_t { kRsdp, kTables, kFacs, kBlockCount };
    struct Block {
        std::string_view name;
        u64 alignment;
        bool below_1_mib;  // firmware must place it where the RSDP is searched for
        std::vector<u8> bytes;
    };
    // At `offset` of `block` stands an offset into `target`, `width` bytes wide: placing adds
    // target's address.
    struct Pointer {
        BlockIndex block;
        std::size_t offset;
        unsigned width;
        BlockIndex target;
    };
    // The bytes [first, first + count) of `block` sum up to 0 through the byte at `offset`.
    struct Checksum {
        BlockIndex block;
        std::size_t offset, first, count;
    };

    std::vector<Block> blocks;
    std::vector<Pointer> pointers;
    std::vector<Checksum> checksums;

    // The blocks, ready to lie at these addresses.
    std::vector<std::vector<u8>> placed(PhysAddr rsdp, PhysAddr tables, PhysAddr facs) const;
    // The commands that make firmware do the same (QEMU's "etc/table-loader").
    std::vector<u8> loader_script() const;
};

AcpiTables make_acpi_tables(const AcpiConfig& config);

}  // namespace droste
