#include "frontends/machine/pc.hpp"

#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/apic/local_apic.hpp"
#include "cpu/x86/interp/engine.hpp"
#include "cpu/x86/model/cpuid.hpp"
#include "frontends/machine/bios_remains.hpp"
#include "frontends/machine/bios_shadow.hpp"
#include "frontends/machine/boot_image.hpp"
#include "frontends/machine/cpu_entry.hpp"
#include "frontends/machine/firmware.hpp"
#include "frontends/machine/firmware_config.hpp"
#include "frontends/machine/memory_map.hpp"
#include "frontends/machine/mp_table.hpp"
#include "frontends/machine/pc_chips.hpp"

#include <algorithm>
#include <random>

#include <fmt/format.h>

namespace droste {

namespace {

// Entropy for the guest's random pool. With --icount it must be the same in every run.
std::vector<u8> make_seed(Clock::Mode mode) {
    std::vector<u8> seed(32);
    if (mode == Clock::Mode::Counting) {
        for (std::size_t i = 0; i < seed.size(); ++i) {
            seed[i] = static_cast<u8>(i * 37 + 11);
        }
        return seed;
    }
    std::random_device device;
    for (u8& byte : seed) {
        byte = static_cast<u8>(device());
    }
    return seed;
}

u8 serial_mask(const MachineConfig& config) {
    u8 mask = 0;
    for (std::size_t i = 0; i < config.serial.size(); ++i) {
        mask = static_cast<u8>(mask | (config.serial[i] != nullptr ? 1U << i : 0U));
    }
    return mask;
}

// SeaBIOS puts BARs from 2 GiB on where RAM leaves room for that.
PhysAddr pci_window_base(u64 low_bytes) {
    constexpr PhysAddr kTwoGiB = 0x8000'0000;
    return low_bytes <= kTwoGiB ? kTwoGiB : memory_map::kPciHole;
}

}  // namespace

Expected<std::unique_ptr<Pc>>
Pc::create(const MachineConfig& config, Log& log, RunControl& control) {
    auto memory = GuestMemory::create(config.ram_bytes);
    if (!memory) {
        return memory.error();
    }
    std::unique_ptr<Pc> pc(new Pc(config, log, std::move(memory).value()));
    if (const auto made = pc->make_vcpus(); !made) {
        return made.error();
    }
    if (const auto loaded = pc->load(control); !loaded) {
        return loaded.error();
    }
    pc->reset();
    return pc;
}

Pc::Pc(const MachineConfig& config, Log& log, std::unique_ptr<GuestMemory> memory)
    : config_(config)
    , log_(log)
    , lock_(config.threads ? std::make_unique<MachineLock>() : nullptr)
    , clock_(config.clock_mode, config.counting_ns)
    , events_(clock_)
    , memory_(std::move(memory))
    , bus_(log)
    , apic_bus_(log) {
    memory_->code_pages().set_lock(lock_.get());
}

Pc::~Pc() {
    clock_.set_counter(nullptr);
}

Expected<void> Pc::make_vcpus() {
    config_.cpu.vcpu_count = config_.vcpu_count;
    VmxConfig vmx = config_.vmx;
    if (!config_.bios.empty()) {
        // Firmware sets and locks IA32_FEATURE_CONTROL itself; fw_cfg tells it how.
        vmx.feature_control_locked = false;
    }
    const Vcpu::Wiring wiring = {*memory_, bus_, clock_, events_, log_};
    for (u32 index = 0; index < config_.vcpu_count; ++index) {
        vcpus_.push_back(std::make_unique<Vcpu>(index, wiring, config_.cpu));
        if (lock_ != nullptr) {
            vcpus_.back()->machine_lock = lock_.get();
            lock_->add(vcpus_.back()->thread);
        }
        vcpus_.back()->native_random = config_.native.has(NativeFeatures::Trait::RandomNumbers);
        if (config_.cpu.has(Feature::VMX)) {
            vmx_.push_back(make_vmx(*vcpus_.back(), vmx));
            vmx_.back()->trace.share_levels(vmx_.front()->trace);
        }
        apic_bus_.attach(*vcpus_.back()->apic);
        if (index == 0) {
            if (const auto owned = own_code(*vcpus_.front(), config_.native); !owned) {
                return owned.error();
            }
        } else {
            share_code(*vcpus_.front(), *vcpus_.back());
        }
    }
    if (const auto made = make_engines(); !made) {
        return made.error();
    }
    drive_clock(*vcpus_.front());
    return {};
}

Expected<void> Pc::make_engines() {
    std::shared_ptr<jit::CodeCache>& code = translated_code_;
    if (config_.accelerator != Accelerator::Interpreter) {
        auto cache = jit::make_code_cache(*vcpus_.front()->blocks, config_.translator,
                                          config_.native, lock_.get());
        if (cache) {
            code = std::move(cache).value();
        } else if (config_.accelerator == Accelerator::Translator) {
            return cache.error();
        }
    }
    for (std::size_t i = 0; i < vcpus_.size(); ++i) {
        engines_.push_back(code == nullptr ? make_interpreter(config_.interpreter)
                                           : jit::make_translator(code, config_.translator));
    }
    return {};
}

Expected<void> Pc::load(RunControl& control) {
    const AcpiTables tables =
        make_acpi_tables({.vcpu_count = config_.vcpu_count,
                          .serial_ports = serial_mask(config_),
                          .pci_window_base = pci_window_base(memory_->low_bytes())});
    auto loaded = config_.bios.empty() ? load_kernel(tables) : load_firmware();
    if (!loaded) {
        return loaded;
    }
    if (memory_->low_bytes() > memory_map::kVgaHole) {
        memory_->overlay(memory_map::kVgaHole, memory_map::kVgaHoleBytes, PageKind::Mmio, nullptr);
    }
    shadow_ = std::make_unique<BiosShadow>(*memory_, rom_);
    const PcChips::Board board = {log_,      events_, *memory_, bus_,
                                  apic_bus_, vcpus_,  *shadow_, control};
    chips_ = std::make_unique<PcChips>(config_, board);
    if (auto filled = fill_firmware_config(chips_->fw_cfg(), config_, tables, memory_->low_bytes(),
                                           memory_->high_bytes());
        !filled) {
        return filled;
    }
    return chips_->attach();
}

Expected<void> Pc::load_kernel(const AcpiTables& tables) {
    BootEnvironment environment;
    environment.low_bytes = memory_->low_bytes();
    environment.high_bytes = memory_->high_bytes();
    environment.acpi_rsdp = memory_map::kAcpiRsdp;
    environment.long_mode = config_.cpu.has(Feature::LM);
    environment.seed = make_seed(config_.clock_mode);
    const PhysAddr tables_at = environment.usable_end();
    const PhysAddr facs_at = memory_->low_bytes() - memory_map::kAcpiNvsBytes;
    auto blocks = tables.placed(memory_map::kAcpiRsdp, tables_at, facs_at);
    if (blocks[AcpiTables::kTables].size() > facs_at - tables_at) {
        return Error{"the ACPI tables do not fit into the memory kept for them"};
    }
    environment.acpi_rsdp_bytes = blocks[AcpiTables::kRsdp];
    auto plan = plan_boot(config_.boot, environment);
    if (!plan) {
        return plan.error();
    }
    plan_ = std::move(plan).value();
    notes_ = plan_.notes;
    const CpuidResult identity = cpuid(*vcpus_.front(), 1, 0);
    place_bios_remains(plan_, environment, serial_mask(config_));
    plan_.place(memory_map::kMpTable, make_mp_table({.vcpu_count = config_.vcpu_count,
                                                     .signature = identity.eax,
                                                     .features = identity.edx},
                                                    memory_map::kMpTable));
    plan_.place(memory_map::kAcpiRsdp, std::move(blocks[AcpiTables::kRsdp]));
    plan_.place(tables_at, std::move(blocks[AcpiTables::kTables]));
    plan_.place(facs_at, std::move(blocks[AcpiTables::kFacs]));
    return {};
}

Expected<void> Pc::load_firmware() {
    auto rom = read_firmware(config_.bios);
    if (!rom) {
        return rom.error();
    }
    rom_ = std::move(rom).value();
    const PhysAddr base = firmware_base(rom_.size());
    memory_->overlay(base, rom_.size(), PageKind::Rom, rom_.data());
    notes_.push_back(
        fmt::format("firmware {}: {} KiB at {:#x}", config_.bios, rom_.size() / 1024, base));
    return {};
}

void Pc::install_boot_plan() {
    for (const BootPlan::Chunk& chunk : plan_.chunks()) {
        const bool written = memory_->write(chunk.first, chunk.bytes);
        DROSTE_ASSERT(written);  // the loaders checked against the memory map
        const std::vector<u8> zeros(std::min<u64>(chunk.zero_bytes, u64{1} << 20));
        for (u64 done = 0; done < chunk.zero_bytes; done += zeros.size()) {
            const u64 count = std::min<u64>(zeros.size(), chunk.zero_bytes - done);
            memory_->write(chunk.first + chunk.bytes.size() + done,
                           std::span<const u8>(zeros).first(count));
        }
    }
}

DeviceRegistry& Pc::devices() {
    return chips_->devices();
}

void Pc::reset() {
    chips_->reset();
    for (const auto& cpu : vcpus_) {
        set_a20(*cpu, true);
        reset_power_on(*cpu);
    }
    if (config_.bios.empty()) {
        chips_->apply_firmware_settings();
        for (const auto& cpu : vcpus_) {
            apply_firmware_settings(*cpu);
        }
        apply_virtual_wire_mode(*vcpus_.front());
        install_boot_plan();
        enter(*vcpus_.front(), plan_.entry);
    }
}

}  // namespace droste
