// The machine's devices as ACPI sees them: what is there, which ports and interrupts it has, how PCI
// interrupts are routed, and how to switch off. Compiled at build time by iasl.
//
// What depends on the command line (number of CPUs, which serial ports exist) is in an SSDT made when the
// machine is (acpi_tables.cpp); \COMS and
// \PCIB (where the PCI memory window begins) come from there.
DefinitionBlock ("", "DSDT", 2, "DROSTE", "DROSTEPC", 0x00000001)
{
    External (\COMS, IntObj)
    External (\PCIB, IntObj)

    // SLP_TYPa of "soft off" as the PIIX4 encodes it.
    Name (\_S5, Package (4) { 0x00, 0x00, 0x00, 0x00 })

    Scope (\_SB)
    {
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A03"))
            Name (_UID, 0)
            Name (CRSB, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode, 0, 0x0000, 0x00FF, 0, 0x0100)
                IO (Decode16, 0x0CF8, 0x0CF8, 0x01, 0x08)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0, 0x0000, 0x0CF7, 0, 0x0CF8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0, 0x0D00, 0xFFFF, 0, 0xF300)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite,
                             0, 0x000A0000, 0x000BFFFF, 0, 0x00020000)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                             0, 0xC0000000, 0xFEBFFFFF, 0, 0x3EC00000, , , M32W)
            })
            CreateDWordField (CRSB, M32W._MIN, M32B)
            CreateDWordField (CRSB, M32W._LEN, M32L)
            Method (_CRS, 0, Serialized)
            {
                M32B = \PCIB
                M32L = (0xFEC00000 - \PCIB)
                Return (CRSB)
            }

            // Pin n of device d is wired to PIRQ (d + n - 1) mod 4. One row a device and pin.
            Name (_PRT, Package (128)
            {
#define SLOT(d, a, b, c, e) \
                Package (4) { d##FFFF, 0, a, 0 }, Package (4) { d##FFFF, 1, b, 0 }, \
                Package (4) { d##FFFF, 2, c, 0 }, Package (4) { d##FFFF, 3, e, 0 }
                SLOT (0x0000, LNKD, LNKA, LNKB, LNKC), SLOT (0x0001, LNKA, LNKB, LNKC, LNKD),
                SLOT (0x0002, LNKB, LNKC, LNKD, LNKA), SLOT (0x0003, LNKC, LNKD, LNKA, LNKB),
                SLOT (0x0004, LNKD, LNKA, LNKB, LNKC), SLOT (0x0005, LNKA, LNKB, LNKC, LNKD),
                SLOT (0x0006, LNKB, LNKC, LNKD, LNKA), SLOT (0x0007, LNKC, LNKD, LNKA, LNKB),
                SLOT (0x0008, LNKD, LNKA, LNKB, LNKC), SLOT (0x0009, LNKA, LNKB, LNKC, LNKD),
                SLOT (0x000A, LNKB, LNKC, LNKD, LNKA), SLOT (0x000B, LNKC, LNKD, LNKA, LNKB),
                SLOT (0x000C, LNKD, LNKA, LNKB, LNKC), SLOT (0x000D, LNKA, LNKB, LNKC, LNKD),
                SLOT (0x000E, LNKB, LNKC, LNKD, LNKA), SLOT (0x000F, LNKC, LNKD, LNKA, LNKB),
                SLOT (0x0010, LNKD, LNKA, LNKB, LNKC), SLOT (0x0011, LNKA, LNKB, LNKC, LNKD),
                SLOT (0x0012, LNKB, LNKC, LNKD, LNKA), SLOT (0x0013, LNKC, LNKD, LNKA, LNKB),
                SLOT (0x0014, LNKD, LNKA, LNKB, LNKC), SLOT (0x0015, LNKA, LNKB, LNKC, LNKD),
                SLOT (0x0016, LNKB, LNKC, LNKD, LNKA), SLOT (0x0017, LNKC, LNKD, LNKA, LNKB),
                SLOT (0x0018, LNKD, LNKA, LNKB, LNKC), SLOT (0x0019, LNKA, LNKB, LNKC, LNKD),
                SLOT (0x001A, LNKB, LNKC, LNKD, LNKA), SLOT (0x001B, LNKC, LNKD, LNKA, LNKB),
                SLOT (0x001C, LNKD, LNKA, LNKB, LNKC), SLOT (0x001D, LNKA, LNKB, LNKC, LNKD),
                SLOT (0x001E, LNKB, LNKC, LNKD, LNKA), SLOT (0x001F, LNKC, LNKD, LNKA, LNKB)
            })

            // The PIIX3 ISA bridge and what hangs on its bus.
            Device (ISA)
            {
                Name (_ADR, 0x00010000)
                OperationRegion (PIRQ, PCI_Config, 0x60, 0x04)
                Field (PIRQ, ByteAcc, NoLock, Preserve)
                {
                    PRQA, 8,
                    PRQB, 8,
                    PRQC, 8,
                    PRQD, 8
                }

                Device (RTC)
                {
                    Name (_HID, EisaId ("PNP0B00"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0070, 0x0070, 0x01, 0x08)
                        IRQNoFlags () { 8 }
                    })
                }
                Device (TIMR)
                {
                    Name (_HID, EisaId ("PNP0100"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0040, 0x0040, 0x01, 0x04)
                        IRQNoFlags () { 0 }
                    })
                }
                Device (PIC)
                {
                    Name (_HID, EisaId ("PNP0000"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0020, 0x0020, 0x01, 0x02)
                        IO (Decode16, 0x00A0, 0x00A0, 0x01, 0x02)
                        IO (Decode16, 0x04D0, 0x04D0, 0x01, 0x02)
                        IRQNoFlags () { 2 }
                    })
                }
                Device (SPKR)
                {
                    Name (_HID, EisaId ("PNP0800"))
                    Name (_CRS, ResourceTemplate () { IO (Decode16, 0x0061, 0x0061, 0x01, 0x01) })
                }
                Device (KBD)
                {
                    Name (_HID, EisaId ("PNP0303"))
                    Method (_STA) { Return (0x0F) }
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0060, 0x0060, 0x01, 0x01)
                        IO (Decode16, 0x0064, 0x0064, 0x01, 0x01)
                        IRQNoFlags () { 1 }
                    })
                }
                Device (MOU)
                {
                    Name (_HID, EisaId ("PNP0F13"))
                    Method (_STA) { Return (0x0F) }
                    Name (_CRS, ResourceTemplate () { IRQNoFlags () { 12 } })
                }
#define COM(name, number, bit, port, irq) \
                Device (name) \
                { \
                    Name (_HID, EisaId ("PNP0501")) \
                    Name (_UID, number) \
                    Method (_STA) \
                    { \
                        If ((\COMS & bit)) { Return (0x0F) } \
                        Return (0x00) \
                    } \
                    Name (_CRS, ResourceTemplate () \
                    { \
                        IO (Decode16, port, port, 0x00, 0x08) \
                        IRQNoFlags () { irq } \
                    }) \
                }
                COM (COM1, 1, 0x01, 0x03F8, 4)
                COM (COM2, 2, 0x02, 0x02F8, 3)
                COM (COM3, 3, 0x04, 0x03E8, 4)
                COM (COM4, 4, 0x08, 0x02E8, 3)
            }
        }

        // ACPI power management registers: reserved, so that nothing else is put there.
        Device (MOTH)
        {
            Name (_HID, EisaId ("PNP0C02"))
            Name (_UID, 1)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0600, 0x0600, 0x01, 0x40)
                IO (Decode16, 0xAFE0, 0xAFE0, 0x01, 0x04)
            })
        }

        Device (HPET)
        {
            Name (_HID, EisaId ("PNP0103"))
            Name (_UID, 0)
            Name (_CRS, ResourceTemplate () { Memory32Fixed (ReadOnly, 0xFED00000, 0x00000400) })
        }

        // A PCI interrupt link: the PIIX3 register says which ISA interrupt it drives; bit 7 switches it off.
#define LINK(name, number, register) \
        Device (name) \
        { \
            Name (_HID, EisaId ("PNP0C0F")) \
            Name (_UID, number) \
            Name (_PRS, ResourceTemplate () \
            { \
                Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) { 5, 10, 11 } \
            }) \
            Method (_STA) \
            { \
                If ((\_SB.PCI0.ISA.register & 0x80)) { Return (0x09) } \
                Return (0x0B) \
            } \
            Method (_DIS) { \_SB.PCI0.ISA.register |= 0x80 } \
            Name (BUFF, ResourceTemplate () \
            { \
                Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) { 0 } \
            }) \
            CreateDWordField (BUFF, 0x05, IRQN) \
            Method (_CRS, 0, Serialized) \
            { \
                If ((\_SB.PCI0.ISA.register < 0x80)) { IRQN = \_SB.PCI0.ISA.register } \
                Else { IRQN = 0 } \
                Return (BUFF) \
            } \
            Method (_SRS, 1) \
            { \
                CreateDWordField (Arg0, 0x05, WANT) \
                \_SB.PCI0.ISA.register = WANT \
            } \
        }
        LINK (LNKA, 0, PRQA)
        LINK (LNKB, 1, PRQB)
        LINK (LNKC, 2, PRQC)
        LINK (LNKD, 3, PRQD)
    }
}
