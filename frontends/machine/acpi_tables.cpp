#include "frontends/machine/acpi_tables.hpp"

#include "core/assert.hpp"
#include "devices/system/reset_cf9.hpp"
#include "devices/time/acpi_pm.hpp"
#include "frontends/machine/aml.hpp"
#include "frontends/machine/boot_plan.hpp"
#include "frontends/machine/dsdt_aml.hpp"
#include "frontends/machine/memory_map.hpp"

#include <algorithm>
#include <span>

namespace droste {

namespace {

using Index = AcpiTables::BlockIndex;

constexpr std::size_t kHeaderBytes = 36;
constexpr std::size_t kChecksumOffset = 9;
constexpr u32 kLargestXapicId = 254;

// Generic Address Structure, "Address Space Format".
constexpr u8 kSystemMemory = 0, kSystemIo = 1;
constexpr u8 kByteAccess = 1, kWordAccess = 2, kDwordAccess = 3;

constexpr u16 kPm1aEvent = AcpiPm::kDefaultBase;
constexpr u16 kPm1aControl = AcpiPm::kDefaultBase + AcpiPm::kControlOffset;
constexpr u16 kPmTimer = AcpiPm::kDefaultBase + AcpiPm::kTimerOffset;
constexpr u8 kSci = 9;

void append_gas(Record& table, u8 space, u8 bits, u8 access, u64 address) {
    table.append(1, space);
    table.append(1, bits);
    table.append(1, 0);
    table.append(1, access);
    table.append(8, address);
}

Record start_table(std::string_view signature, u8 revision) {
    Record table(0);
    table.append(signature);
    table.append(4, 0);  // length, set by finish
    table.append(1, revision);
    table.append(1, 0);  // checksum
    table.append("DROSTE");
    table.append("DROSTEPC");
    table.append(4, 1);
    table.append("DRST");
    table.append(4, 1);
    return table;
}

// Collects tables into one block and remembers where each lies.
class Builder {
  public:
    explicit Builder(AcpiTables& out) : out_(out) {}

    // Appends `table` with its length set; gives its offset in the block.
    std::size_t add(Record table) {
        table.put(4, 4, table.size());
        Record& block = block_;
        block.align(16);
        const std::size_t at = block.size();
        block.append(table.bytes());
        out_.checksums.push_back({Index::kTables, at + kChecksumOffset, at, table.size()});
        return at;
    }
    void point(std::size_t offset, unsigned width, Index target) {
        out_.pointers.push_back({Index::kTables, offset, width, target});
    }
    std::vector<u8> take() { return std::move(block_.bytes()); }

  private:
    AcpiTables& out_;
    Record block_{0};
};

// "Firmware ACPI Control Structure (FACS)"
std::vector<u8> make_facs() {
    Record facs(64);
    facs.put(4, 4, 64);
    facs.put(32, 1, 2);  // version
    std::copy_n("FACS", 4, facs.bytes().begin());
    return std::move(facs.bytes());
}

// "Fixed ACPI Description Table (FADT)", revision 5. Pointers are filled in by the caller.
Record make_fadt(std::size_t dsdt_offset) {
    constexpr u32 kWbinvd = 1U << 0, kProcC1 = 1U << 2, kNoPowerButton = 1U << 4,
                  kNoSleepButton = 1U << 5, kFixRtc = 1U << 6, kTmrValExt = 1U << 8,
                  kResetRegSup = 1U << 10;
    constexpr u16 kLegacyDevices = 1U << 0, k8042 = 1U << 1, kVgaNotPresent = 1U << 2;
    constexpr u8 kCmosCentury = 0x32;

    Record t = start_table("FACP", 5);
    t.append(4, 0);            // FIRMWARE_CTRL -> FACS
    t.append(4, dsdt_offset);  // DSDT
    t.append(1, 0);
    t.append(1, 0);  // preferred profile: unspecified
    t.append(2, kSci);
    t.append(4, AcpiPm::kSmiCommand);
    t.append(1, AcpiPm::kAcpiEnable);
    t.append(1, AcpiPm::kAcpiDisable);
    t.append(2, 0);  // S4BIOS_REQ, PSTATE_CNT
    t.append(4, kPm1aEvent);
    t.append(4, 0);
    t.append(4, kPm1aControl);
    t.append(4, 0);
    t.append(4, 0);  // PM2_CNT_BLK
    t.append(4, kPmTimer);
    t.append(4, AcpiPm::kGpeBase);
    t.append(4, 0);  // GPE1_BLK
    t.append(1, 4);  // PM1_EVT_LEN
    t.append(1, 2);  // PM1_CNT_LEN
    t.append(1, 0);
    t.append(1, 4);  // PM_TMR_LEN
    t.append(1, AcpiPm::kGpeBytes);
    t.append(3, 0);      // GPE1_BLK_LEN, GPE1_BASE, CST_CNT
    t.append(2, 0xFFF);  // P_LVL2_LAT: no C2
    t.append(2, 0xFFF);  // P_LVL3_LAT: no C3
    t.append(4, 0);      // FLUSH_SIZE, FLUSH_STRIDE
    t.append(1, 0);      // DUTY_OFFSET
    t.append(1, 0);      // DUTY_WIDTH
    t.append(1, 0);      // DAY_ALRM
    t.append(1, 0);      // MON_ALRM
    t.append(1, kCmosCentury);
    t.append(2, kLegacyDevices | k8042 | kVgaNotPresent);
    t.append(1, 0);
    t.append(4, kWbinvd | kProcC1 | kNoPowerButton | kNoSleepButton | kFixRtc | kResetRegSup |
                    kTmrValExt);
    append_gas(t, kSystemIo, 8, kByteAccess, ResetCf9::kPort);
    t.append(1, ResetCf9::kResetValue);
    t.append(3, 0);
    t.append(8, 0);            // X_FIRMWARE_CTRL: the 32-bit field is used
    t.append(8, dsdt_offset);  // X_DSDT
    append_gas(t, kSystemIo, 32, kWordAccess, kPm1aEvent);
    append_gas(t, kSystemIo, 0, 0, 0);
    append_gas(t, kSystemIo, 16, kWordAccess, kPm1aControl);
    append_gas(t, kSystemIo, 0, 0, 0);
    append_gas(t, kSystemIo, 0, 0, 0);
    append_gas(t, kSystemIo, 32, kDwordAccess, kPmTimer);
    append_gas(t, kSystemIo, 8 * AcpiPm::kGpeBytes, kByteAccess, AcpiPm::kGpeBase);
    append_gas(t, kSystemIo, 0, 0, 0);
    append_gas(t, kSystemIo, 0, 0, 0);  // SLEEP_CONTROL_REG: hardware-reduced only
    append_gas(t, kSystemIo, 0, 0, 0);  // SLEEP_STATUS_REG
    DROSTE_ASSERT(t.size() == 268);
    return t;
}

// "Multiple APIC Description Table (MADT)"
Record make_madt(const AcpiConfig& config) {
    constexpr u16 kActiveHighLevel = 0x0D;
    constexpr u32 kPcatCompat = 1;
    Record t = start_table("APIC", 3);
    t.append(4, memory_map::kLocalApic);
    t.append(4, kPcatCompat);
    for (u32 id = 0; id < config.vcpu_count; ++id) {
        if (id <= kLargestXapicId) {
            t.append(2, 0x0800);  // type 0, length 8
            t.append(1, id);      // processor UID
            t.append(1, id);
            t.append(4, 1);  // enabled
        } else {
            t.append(2, 0x1009);  // type 9, length 16: processor local x2APIC
            t.append(2, 0);
            t.append(4, id);
            t.append(4, 1);
            t.append(4, id);
        }
    }
    t.append(2, 0x0C01);  // I/O APIC
    t.append(1, 0);       // id
    t.append(1, 0);
    t.append(4, memory_map::kIoApic);
    t.append(4, 0);  // its first global interrupt
    const auto override_source = [&](u8 irq, u32 global, u16 flags) {
        t.append(2, 0x0A02);
        t.append(1, 0);  // ISA
        t.append(1, irq);
        t.append(4, global);
        t.append(2, flags);
    };
    override_source(0, 2, 0);
    for (const u8 irq : {u8{5}, kSci, u8{10}, u8{11}}) {  // the SCI and what PCI links may drive
        override_source(irq, irq, kActiveHighLevel);
    }
    t.append(2, 0x0604);  // local APIC NMI
    t.append(1, 0xFF);    // all processors
    t.append(2, 0);
    t.append(1, 1);  // LINT1
    if (config.vcpu_count > kLargestXapicId + 1) {
        t.append(2, 0x0C0A);  // local x2APIC NMI
        t.append(2, 0);
        t.append(4, 0xFFFF'FFFF);
        t.append(1, 1);
        t.append(3, 0);
    }
    return t;
}

// IA-PC HPET Specification, "The ACPI 2.0 HPET Description Table".
Record make_hpet() {
    constexpr u32 kEventTimerBlockId = 0x8086'A201;  // vendor, legacy replacement, 64-bit, 3 timers
    Record t = start_table("HPET", 1);
    t.append(4, kEventTimerBlockId);
    append_gas(t, kSystemMemory, 64, 0, memory_map::kHpet);
    t.append(1, 0);    // HPET number
    t.append(2, 100);  // minimum clock tick in periodic mode
    t.append(1, 0);
    return t;
}

constexpr u16 kCom1 = 0x3F8;
constexpr u8 kCom1Irq = 4;

// Microsoft, "Serial Port Console Redirection Table", revision 2: COM1 for those who want a console
// before they know the machine.
Record make_spcr() {
    constexpr u8 kFull16550 = 0, k8259 = 1U << 0, kIoApicInterrupt = 1U << 1;
    constexpr u8 kBaud115200 = 7, kOneStopBit = 1, kAnsi = 3;
    Record t = start_table("SPCR", 2);
    t.append(1, kFull16550);
    t.append(3, 0);
    append_gas(t, kSystemIo, 8, kByteAccess, kCom1);
    t.append(1, k8259 | kIoApicInterrupt);
    t.append(1, kCom1Irq);
    t.append(4, kCom1Irq);  // as a global interrupt
    t.append(1, kBaud115200);
    t.append(1, 0);  // no parity
    t.append(1, kOneStopBit);
    t.append(1, 0);  // no flow control
    t.append(1, kAnsi);
    t.append(1, 0);
    t.append(2, 0xFFFF);  // no PCI device: device, vendor
    t.append(2, 0xFFFF);
    t.append(3, 0);  // bus, device, function
    t.append(4, 0);  // flags
    t.append(1, 0);  // segment
    t.append(4, 0);
    DROSTE_ASSERT(t.size() == 80);
    return t;
}

// Microsoft, "Debug Port Table 2": the same port for debuggers.
Record make_dbg2() {
    constexpr std::string_view kName = "\\_SB.PCI0.ISA.COM1";
    constexpr u16 kDeviceBytes = 22, kGasBytes = 12, kSizeBytes = 4;
    constexpr u16 kNameAt = kDeviceBytes + kGasBytes + kSizeBytes;
    constexpr u16 kSerial = 0x8000, kFull16550 = 0;
    const auto name_bytes = static_cast<u16>(kName.size() + 1);
    Record t = start_table("DBG2", 0);
    t.append(4, kHeaderBytes + 8);  // the first device's offset
    t.append(4, 1);                 // devices
    t.append(1, 0);                 // revision
    t.append(2, u64{kNameAt} + name_bytes);
    t.append(1, 1);  // address registers
    t.append(2, name_bytes);
    t.append(2, kNameAt);
    t.append(4, 0);  // no OEM data
    t.append(2, kSerial);
    t.append(2, kFull16550);
    t.append(2, 0);
    t.append(2, kDeviceBytes);              // the address's offset
    t.append(2, kDeviceBytes + kGasBytes);  // its size's
    append_gas(t, kSystemIo, 8, kByteAccess, kCom1);
    t.append(4, 8);
    t.append(zero_terminated(kName));
    return t;
}

// \COMS for the DSDT's serial ports, \PCIB for its PCI window, and a processor device for each CPU.
Record make_ssdt(const AcpiConfig& config) {
    AmlBuilder aml;
    aml.name("\\COMS", config.serial_ports);
    aml.name("\\PCIB", config.pci_window_base);
    aml.begin_scope("\\_SB_");
    for (u32 id = 0; id < config.vcpu_count; ++id) {
        constexpr std::string_view kHex = "0123456789ABCDEF";
        const std::string name = {'C', kHex[(id >> 8) & 15], kHex[(id >> 4) & 15], kHex[id & 15]};
        aml.begin_device(name);
        aml.name("_HID", "ACPI0007");
        aml.name("_UID", id);
        aml.end();
    }
    aml.end();
    Record t = start_table("SSDT", 2);
    t.append(aml.bytes());
    return t;
}

// "Root System Description Pointer (RSDP)", revision 2.
std::vector<u8> make_rsdp(std::size_t rsdt_offset, std::size_t xsdt_offset) {
    Record t(0);
    t.append("RSD PTR ");
    t.append(1, 0);  // checksum of the first 20 bytes
    t.append("DROSTE");
    t.append(1, 2);
    t.append(4, rsdt_offset);
    t.append(4, 36);
    t.append(8, xsdt_offset);
    t.append(1, 0);  // checksum of all
    t.append(3, 0);
    return std::move(t.bytes());
}

void set_checksum(std::vector<u8>& bytes, const AcpiTables::Checksum& checksum) {
    bytes[checksum.offset] = 0;
    u8 sum = 0;
    for (std::size_t i = 0; i < checksum.count; ++i) {
        sum = static_cast<u8>(sum + bytes[checksum.first + i]);
    }
    bytes[checksum.offset] = static_cast<u8>(-sum);
}

// One 128-byte command of the table loader.
class LoaderCommand {
  public:
    explicit LoaderCommand(u32 command) { record_.put(0, 4, command); }
    void file(std::size_t offset, std::string_view name) {
        record_.put(offset, {reinterpret_cast<const u8*>(name.data()), name.size()});
    }
    void put(std::size_t offset, unsigned width, u64 value) { record_.put(offset, width, value); }
    std::span<const u8> bytes() { return record_.bytes(); }

  private:
    Record record_{128};
};

}  // namespace

std::vector<std::vector<u8>>
AcpiTables::placed(PhysAddr rsdp, PhysAddr tables, PhysAddr facs) const {
    const PhysAddr addresses[kBlockCount] = {rsdp, tables, facs};
    std::vector<std::vector<u8>> result;
    for (const Block& block : blocks) {
        result.push_back(block.bytes);
    }
    for (const Pointer& pointer : pointers) {
        std::vector<u8>& bytes = result[pointer.block];
        u64 value = field(bytes, pointer.offset, pointer.width) + addresses[pointer.target];
        for (unsigned i = 0; i < pointer.width; ++i) {
            bytes[pointer.offset + i] = static_cast<u8>(value);
            value >>= 8;
        }
    }
    for (const Checksum& checksum : checksums) {
        set_checksum(result[checksum.block], checksum);
    }
    return result;
}

std::vector<u8> AcpiTables::loader_script() const {
    constexpr u32 kAllocate = 1, kAddPointer = 2, kAddChecksum = 3;
    constexpr u8 kZoneHigh = 1, kZoneFSegment = 2;
    constexpr std::size_t kFileNameBytes = 56;
    Record script(0);
    for (const Block& block : blocks) {
        LoaderCommand command(kAllocate);
        command.file(4, block.name);
        command.put(4 + kFileNameBytes, 4, block.alignment);
        command.put(8 + kFileNameBytes, 1, block.below_1_mib ? kZoneFSegment : kZoneHigh);
        script.append(command.bytes());
    }
    for (const Pointer& pointer : pointers) {
        LoaderCommand command(kAddPointer);
        command.file(4, blocks[pointer.block].name);
        command.file(4 + kFileNameBytes, blocks[pointer.target].name);
        command.put(4 + 2 * kFileNameBytes, 4, pointer.offset);
        command.put(8 + 2 * kFileNameBytes, 1, pointer.width);
        script.append(command.bytes());
    }
    for (const Checksum& checksum : checksums) {
        LoaderCommand command(kAddChecksum);
        command.file(4, blocks[checksum.block].name);
        command.put(4 + kFileNameBytes, 4, checksum.offset);
        command.put(8 + kFileNameBytes, 4, checksum.first);
        command.put(12 + kFileNameBytes, 4, checksum.count);
        script.append(command.bytes());
    }
    return std::move(script.bytes());
}

AcpiTables make_acpi_tables(const AcpiConfig& config) {
    AcpiTables out;
    Builder builder(out);
    Record dsdt(0);
    dsdt.append(std::span<const u8>(kDsdtAml));
    const std::size_t dsdt_at = builder.add(std::move(dsdt));
    const std::size_t fadt_at = builder.add(make_fadt(dsdt_at));
    builder.point(fadt_at + 36, 4, Index::kFacs);
    builder.point(fadt_at + 40, 4, Index::kTables);
    builder.point(fadt_at + 140, 8, Index::kTables);
    std::vector<std::size_t> listed = {fadt_at, builder.add(make_ssdt(config)),
                                       builder.add(make_madt(config)), builder.add(make_hpet())};
    if ((config.serial_ports & 1) != 0) {
        listed.push_back(builder.add(make_spcr()));
        listed.push_back(builder.add(make_dbg2()));
    }

    Record rsdt = start_table("RSDT", 1);
    Record xsdt = start_table("XSDT", 1);
    for (const std::size_t at : listed) {
        rsdt.append(4, at);
        xsdt.append(8, at);
    }
    const std::size_t rsdt_at = builder.add(std::move(rsdt));
    const std::size_t xsdt_at = builder.add(std::move(xsdt));
    for (std::size_t i = 0; i < listed.size(); ++i) {
        builder.point(rsdt_at + kHeaderBytes + 4 * i, 4, Index::kTables);
        builder.point(xsdt_at + kHeaderBytes + 8 * i, 8, Index::kTables);
    }
    out.pointers.push_back({Index::kRsdp, 16, 4, Index::kTables});
    out.pointers.push_back({Index::kRsdp, 24, 8, Index::kTables});
    out.checksums.push_back({Index::kRsdp, 8, 0, 20});
    out.checksums.push_back({Index::kRsdp, 32, 0, 36});
    out.blocks.push_back({"etc/acpi/rsdp", 16, true, make_rsdp(rsdt_at, xsdt_at)});
    out.blocks.push_back({"etc/acpi/tables", 64, false, builder.take()});
    out.blocks.push_back({"etc/acpi/facs", 64, false, make_facs()});
    return out;
}

}  // namespace droste
