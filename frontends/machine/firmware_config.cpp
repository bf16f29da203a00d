#include "frontends/machine/firmware_config.hpp"

#include "frontends/machine/e820.hpp"
#include "frontends/machine/memory_map.hpp"
#include "frontends/machine/nested_report.hpp"

namespace droste {

namespace {

// All RAM, and where chips and flash answer; firmware adds what it reserves itself.
std::vector<u8> make_e820_file(u64 low_bytes, u64 high_bytes) {
    Record map(0);
    const auto add = [&](PhysAddr first, u64 bytes, E820Type type) {
        map.append(8, first);
        map.append(8, bytes);
        map.append(4, static_cast<u32>(type));
    };
    add(0, low_bytes, E820Type::Ram);
    add(memory_map::kIoApic, memory_map::kFourGiB - memory_map::kIoApic, E820Type::Reserved);
    if (high_bytes != 0) {
        add(memory_map::kFourGiB, high_bytes, E820Type::Ram);
    }
    return std::move(map.bytes());
}

}  // namespace

Expected<void> fill_firmware_config(FwCfg& fw_cfg,
                                    const MachineConfig& config,
                                    const AcpiTables& tables,
                                    u64 low_bytes,
                                    u64 high_bytes) {
    fw_cfg.add_u64(FwCfg::RamSize, config.ram_bytes);
    fw_cfg.add_u16(FwCfg::NbCpus, static_cast<u16>(config.vcpu_count));
    fw_cfg.add_u16(FwCfg::MaxCpus, static_cast<u16>(config.vcpu_count));
    fw_cfg.add_u16(FwCfg::NoGraphic, 1);
    fw_cfg.add_u16(FwCfg::BootMenu, 0);
    fw_cfg.add_u32(FwCfg::IrqOverride, 1);  // IRQ 0 is I/O APIC pin 2

    struct File {
        std::string name;
        std::vector<u8> bytes;
    };
    std::vector<File> files;
    files.push_back({"etc/e820", make_e820_file(low_bytes, high_bytes)});
    files.push_back({"bootorder", zero_terminated("")});
    files.push_back({"etc/table-loader", tables.loader_script()});
    for (const AcpiTables::Block& block : tables.blocks) {
        files.push_back({std::string(block.name), block.bytes});
    }
    if (config.cpu.has(Feature::VMX) && config.vmx.feature_control_locked) {
        // Locked; VMX outside SMX, or not at all.
        const u8 value = config.vmx.feature_control_vmx ? 5 : 1;
        files.push_back({"etc/msr_feature_control", {value, 0, 0, 0, 0, 0, 0, 0}});
    }
    const std::string report = render_nested_report(nested_report(config));
    files.push_back({"opt/droste/nested", {report.begin(), report.end()}});
    for (File& file : files) {
        if (auto added = fw_cfg.add_file(file.name, std::move(file.bytes)); !added) {
            return added;
        }
    }
    return {};
}

}  // namespace droste
