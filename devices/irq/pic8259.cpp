#include "devices/irq/pic8259.hpp"

#include "devices/state_archive.hpp"

namespace droste {

namespace {

constexpr u8 kIcw1 = 1U << 4;
constexpr u8 kIcw1NeedsIcw4 = 1U << 0;
constexpr u8 kIcw1Single = 1U << 1;
constexpr u8 kIcw4AutoEoi = 1U << 1;
constexpr u8 kIcw4SpecialFullyNested = 1U << 4;
constexpr u8 kOcw3 = 1U << 3;
constexpr u8 kOcw3Poll = 1U << 2;
constexpr unsigned kSpuriousIr = 7;

constexpr u8 bit_of(unsigned ir) {
    return static_cast<u8>(1U << ir);
}

}  // namespace

void Pic8259Chip::reset() {
    // The part leaves all this undefined until ICW1; masked is the quiet choice.
    elcr_ = 0;
    irr_ = 0;
    imr_ = 0xFF;
    isr_ = 0;
    vector_base_ = 0;
    lowest_ = 7;
    expect_ = Expect::Nothing;
    single_ = needs_icw4_ = auto_eoi_ = rotate_on_auto_eoi_ = false;
    special_fully_nested_ = special_mask_ = read_isr_ = poll_ = polled_ = false;
}

// "Initialization Command Words": what ICW1 itself clears.
void Pic8259Chip::initialize(u8 icw1) {
    // "The edge sense circuit is reset": only level-triggered requests survive.
    irr_ = static_cast<u8>(lines_ & elcr_);
    imr_ = 0;
    isr_ = 0;
    lowest_ = 7;
    special_mask_ = false;
    read_isr_ = false;
    poll_ = false;
    single_ = (icw1 & kIcw1Single) != 0;
    needs_icw4_ = (icw1 & kIcw1NeedsIcw4) != 0;
    if (!needs_icw4_) {
        auto_eoi_ = false;
        special_fully_nested_ = false;
    }
    expect_ = Expect::Icw2;
}

void Pic8259Chip::write_command(u8 value) {
    if ((value & kIcw1) != 0) {
        initialize(value);
    } else if ((value & kOcw3) == 0) {
        end_of_interrupt(value);
    } else {
        if ((value & kOcw3Poll) != 0) {
            poll_ = true;
        }
        if ((value & 0x02) != 0) {
            read_isr_ = (value & 0x01) != 0;
        }
        if ((value & 0x40) != 0) {
            special_mask_ = (value & 0x20) != 0;
        }
    }
}

// OCW2: bits 7:5 are R (rotate), SL (specific level) and EOI.
void Pic8259Chip::end_of_interrupt(u8 ocw2) {
    constexpr unsigned kEoi = 1;
    constexpr unsigned kSpecific = 2;
    constexpr unsigned kRotate = 4;
    const unsigned command = ocw2 >> 5;
    if ((command & (kEoi | kSpecific)) == 0) {
        rotate_on_auto_eoi_ = (command & kRotate) != 0;
        return;
    }
    unsigned level = ocw2 & 7U;
    if ((command & kSpecific) == 0) {
        // "an IS bit that is masked by an IMR bit will not be cleared by a non-specific EOI if the
        // 8259A is in the Special Mask Mode"
        const u8 candidates = special_mask_ ? static_cast<u8>(isr_ & ~imr_) : isr_;
        if (candidates == 0) {
            return;
        }
        level = highest(candidates);
    }
    if ((command & kEoi) != 0) {
        isr_ = static_cast<u8>(isr_ & ~bit_of(level));
    }
    if ((command & kRotate) != 0) {
        lowest_ = static_cast<u8>(level);
    }
}

void Pic8259Chip::write_data(u8 value) {
    switch (expect_) {
    case Expect::Nothing: imr_ = value; break;
    case Expect::Icw2:
        vector_base_ = value & 0xF8;
        expect_ = !single_ ? Expect::Icw3 : needs_icw4_ ? Expect::Icw4 : Expect::Nothing;
        break;
    case Expect::Icw3:  // the cascade is soldered on IR2
        expect_ = needs_icw4_ ? Expect::Icw4 : Expect::Nothing;
        break;
    case Expect::Icw4:
        auto_eoi_ = (value & kIcw4AutoEoi) != 0;
        special_fully_nested_ = (value & kIcw4SpecialFullyNested) != 0;
        expect_ = Expect::Nothing;
        break;
    }
}

u8 Pic8259Chip::read(bool a0) {
    if (poll_) {
        poll_ = false;
        const int ir = pending();
        if (ir < 0) {
            return 0;
        }
        take(static_cast<unsigned>(ir));
        polled_ = true;
        return static_cast<u8>(0x80 | ir);
    }
    if (a0) {
        return imr_;
    }
    return read_isr_ ? isr_ : irr_;
}

void Pic8259Chip::set_elcr(u8 value) {
    elcr_ = value & elcr_mask_;
    // A level-triggered request is its line.
    irr_ = static_cast<u8>((irr_ & ~elcr_) | (lines_ & elcr_));
}

void Pic8259Chip::set_line(unsigned ir, bool asserted) {
    const u8 mask = bit_of(ir);
    const bool was_asserted = (lines_ & mask) != 0;
    lines_ = static_cast<u8>(asserted ? lines_ | mask : lines_ & ~mask);
    if ((elcr_ & mask) != 0) {
        irr_ = static_cast<u8>(asserted ? irr_ | mask : irr_ & ~mask);
    } else if (asserted && !was_asserted) {
        irr_ = static_cast<u8>(irr_ | mask);
    }
}

u8 Pic8259Chip::highest(u8 requests) const {
    for (unsigned i = 1; i <= 8; ++i) {
        const unsigned ir = (lowest_ + i) & 7U;
        if ((requests & bit_of(ir)) != 0) {
            return static_cast<u8>(ir);
        }
    }
    return 0;
}

unsigned Pic8259Chip::priority_of(u8 requests) const {
    return requests == 0 ? 8 : (highest(requests) - lowest_ - 1U) & 7U;
}

int Pic8259Chip::pending() const {
    const u8 requests = static_cast<u8>(irr_ & ~imr_);
    if (requests == 0 || expect_ != Expect::Nothing) {
        return -1;
    }
    u8 in_service = isr_;
    if (special_mask_) {
        // "when a mask bit is set in OCW1, it inhibits further interrupts at that level and enables
        // interrupts from all other levels"
        in_service = static_cast<u8>(in_service & ~imr_);
    }
    const u8 first = highest(requests);
    const unsigned blocked = priority_of(in_service);
    const unsigned wanted = priority_of(requests);
    if (special_fully_nested_ && wanted == blocked) {
        // "When an interrupt request from a certain slave is in service this slave is not locked
        // out from the master's priority logic": IR2 is the only slave here.
        return first == 2 ? first : -1;
    }
    return wanted < blocked ? first : -1;
}

void Pic8259Chip::take(unsigned ir) {
    const u8 mask = bit_of(ir);
    if ((elcr_ & mask) == 0) {
        irr_ = static_cast<u8>(irr_ & ~mask);
    }
    if (!auto_eoi_) {
        isr_ = static_cast<u8>(isr_ | mask);
    } else if (rotate_on_auto_eoi_) {
        lowest_ = static_cast<u8>(ir);
    }
}

bool Pic8259Chip::consume_polled() {
    const bool polled = polled_;
    polled_ = false;
    return polled;
}

void Pic8259Chip::state(StateArchive& archive) {
    archive("elcr", elcr_);
    archive("irr", irr_);
    archive("imr", imr_);
    archive("isr", isr_);
    archive("vector_base", vector_base_);
    archive("lowest", lowest_);
    archive("expect", expect_);
    archive("single", single_);
    archive("needs_icw4", needs_icw4_);
    archive("auto_eoi", auto_eoi_);
    archive("rotate_on_auto_eoi", rotate_on_auto_eoi_);
    archive("special_fully_nested", special_fully_nested_);
    archive("special_mask", special_mask_);
    archive("read_isr", read_isr_);
    archive("poll", poll_);
    archive("polled", polled_);
    archive.over_reset([&] { archive("lines", lines_); });
}

Pic8259Pair::Pic8259Pair(IrqLine& intr) : intr_(intr), pins_(*this) {}

void Pic8259Pair::reset() {
    master_.reset();
    slave_.reset();
    update();
}

void Pic8259Pair::set_input(unsigned irq, bool asserted) {
    if (irq >= 8) {
        slave_.set_line(irq & 7U, asserted);
    } else if (irq != kCascade) {
        master_.set_line(irq, asserted);
    }
    update();
}

void Pic8259Pair::update() {
    master_.set_line(kCascade, slave_.pending() >= 0);
    intr_.set_level(master_.pending() >= 0);
}

u8 Pic8259Pair::acknowledge() {
    u8 vector = master_.vector(kSpuriousIr);
    const int ir = master_.pending();
    if (ir >= 0) {
        master_.take(static_cast<unsigned>(ir));
        vector = master_.vector(static_cast<unsigned>(ir));
    }
    if (ir == static_cast<int>(kCascade)) {
        const int slave_ir = slave_.pending();
        vector = slave_.vector(kSpuriousIr);
        if (slave_ir >= 0) {
            slave_.take(static_cast<unsigned>(slave_ir));
            vector = slave_.vector(static_cast<unsigned>(slave_ir));
        }
        master_.forget_edge(kCascade);  // the slave's INT falls in its INTA cycle
    }
    intr_.set_level(false);  // and so does the master's: an ExtINT input may be edge-triggered
    update();
    return vector;
}

IoStatus Pic8259Pair::pio_read(u16 port, std::span<u8> data) {
    if (data.size() != 1) {
        return IoStatus::BadSize;
    }
    const bool a0 = (port & 1) != 0;
    switch (port & ~1U) {
    case kMasterPort: data[0] = master_.read(a0); break;
    case kSlavePort:
        data[0] = slave_.read(a0);
        if (slave_.consume_polled()) {
            master_.forget_edge(kCascade);
        }
        break;
    default: data[0] = a0 ? slave_.elcr() : master_.elcr(); break;
    }
    update();
    return IoStatus::Done;
}

IoStatus Pic8259Pair::pio_write(u16 port, std::span<const u8> data) {
    if (data.size() != 1) {
        return IoStatus::BadSize;
    }
    const bool a0 = (port & 1) != 0;
    if ((port & ~1U) == kElcrPort) {
        (a0 ? slave_ : master_).set_elcr(data[0]);
    } else {
        Pic8259Chip& chip = (port & ~1U) == kMasterPort ? master_ : slave_;
        if (a0) {
            chip.write_data(data[0]);
        } else {
            chip.write_command(data[0]);
            // ICW1 resets the edge sense circuits; a slave that still requests is seen again.
            if ((data[0] & kIcw1) != 0) {
                master_.forget_edge(kCascade);
            }
        }
    }
    update();
    return IoStatus::Done;
}

void Pic8259Pair::state(StateArchive& archive) {
    archive("master", master_);
    archive("slave", slave_);
}

void Pic8259Pair::state_loaded() {
    intr_.set_level(master_.pending() >= 0);
}

}  // namespace droste
