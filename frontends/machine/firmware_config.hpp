#pragma once
// What firmware learns about the machine through fw_cfg: sizes, CPUs, the memory map, and the ACPI
// tables with the commands to place them. QEMU, "QEMU Firmware Configuration (fw_cfg) Device".

#include "core/error.hpp"
#include "devices/system/fw_cfg.hpp"
#include "frontends/machine/acpi_tables.hpp"
#include "frontends/machine/config.hpp"

namespace droste {

Expected<void> fill_firmware_config(FwCfg& fw_cfg,
                                    const MachineConfig& config,
                                    const AcpiTables& tables,
                                    u64 low_bytes,
                                    u64 high_bytes);

}  // namespace droste
