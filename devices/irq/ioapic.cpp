#include "devices/irq/ioapic.hpp"

#include "core/bits.hpp"
#include "devices/little_endian.hpp"
#include "devices/state_archive.hpp"

#include <algorithm>

namespace droste {

namespace {

// Memory-mapped registers.
constexpr PhysAddr kIoRegSel = 0x00;
constexpr PhysAddr kIoWin = 0x10;
constexpr PhysAddr kEoi = 0x40;

// Registers behind IOREGSEL.
constexpr u8 kIoApicId = 0x00;
constexpr u8 kIoApicVer = 0x01;
constexpr u8 kIoApicArb = 0x02;
constexpr u8 kIoRedTbl = 0x10;

constexpr u32 kVersion = 0x20;

// Redirection table entry.
constexpr u64 kLogical = u64{1} << 11;
constexpr u64 kRemoteIrr = u64{1} << 14;
constexpr u64 kLevel = u64{1} << 15;
constexpr u64 kMasked = u64{1} << 16;
// Vector, delivery mode, destination mode, polarity, trigger mode, mask, destination. Delivery
// status and remote IRR are read-only.
constexpr u64 kWritable = 0xFF00'0000'0001'AFFF;

constexpr DeliveryMode delivery_mode(u64 entry) {
    return static_cast<DeliveryMode>(bits(entry, 8, 10));
}

// "SMI, NMI, INIT and ExtINT ... always treated as an edge triggered interrupt, even if it is
// programmed otherwise."
constexpr bool is_level(u64 entry) {
    const DeliveryMode mode = delivery_mode(entry);
    return (entry & kLevel) != 0 &&
           (mode == DeliveryMode::Fixed || mode == DeliveryMode::LowestPriority);
}

}  // namespace

IoApic::IoApic(EventQueue& events, ApicBus& apics, u8 id, PhysAddr base)
    : ranges_{MmioRange{.first = base, .count = kPageBytes}}
    , events_(events)
    , apics_(apics)
    , initial_id_(id & 0xF)
    , id_(initial_id_)
    , resend_(events, [this](u64 deadline_ns) { resend_due(deadline_ns); })
    , pins_(*this) {
    entries_.fill(kMasked);
    resend_at_ns_.fill(kNever);
}

void IoApic::reset() {
    id_ = initial_id_;
    select_ = 0;
    entries_.fill(kMasked);
    resend_at_ns_.fill(kNever);
    resend_.disarm();
}

void IoApic::set_input(unsigned pin, bool asserted) {
    const bool was_asserted = test_bit(lines_, pin);
    lines_ = static_cast<u32>(asserted ? lines_ | bit(pin) : lines_ & ~bit(pin));
    const u64 entry = entries_[pin];
    if (is_level(entry)) {
        serve_level(pin);
    } else if (asserted && !was_asserted && (entry & kMasked) == 0) {
        send(entry);
    }
}

void IoApic::serve_level(unsigned pin) {
    u64& entry = entries_[pin];
    if (test_bit(lines_, pin) && is_level(entry) && (entry & (kMasked | kRemoteIrr)) == 0) {
        entry |= kRemoteIrr;
        send(entry);
    }
}

void IoApic::send(u64 entry) {
    apics_.send(InterruptMessage{
        .destination = destination_from_8_bits(static_cast<u32>(bits(entry, 56, 63))),
        .logical = (entry & kLogical) != 0,
        .level_triggered = is_level(entry),
        .mode = delivery_mode(entry),
        .vector = static_cast<u8>(entry),
    });
}

void IoApic::end_of_interrupt(u8 vector) {
    for (unsigned pin = 0; pin < kPins; ++pin) {
        u64& entry = entries_[pin];
        if (is_level(entry) && static_cast<u8>(entry) == vector) {
            entry &= ~kRemoteIrr;
            if (test_bit(lines_, pin)) {
                resend_at_ns_[pin] = events_.now_ns() + kResendDelayNs;
            }
        }
    }
    resend_due(0);
}

void IoApic::resend_due(u64 now_ns) {
    for (unsigned pin = 0; pin < kPins; ++pin) {
        if (resend_at_ns_[pin] <= now_ns) {
            resend_at_ns_[pin] = kNever;
            serve_level(pin);
        }
    }
    const u64 next = *std::min_element(resend_at_ns_.begin(), resend_at_ns_.end());
    if (next == kNever) {
        resend_.disarm();
    } else {
        resend_.arm(next);
    }
}

u32 IoApic::read_register() const {
    if (select_ >= kIoRedTbl && select_ < kIoRedTbl + 2 * kPins) {
        const unsigned index = select_ - kIoRedTbl;
        return static_cast<u32>(entries_[index / 2] >> (index % 2 != 0 ? 32 : 0));
    }
    switch (select_) {
    case kIoApicId:
    case kIoApicArb: return u32{id_} << 24;
    case kIoApicVer: return (kPins - 1) << 16 | kVersion;
    default: return 0;
    }
}

void IoApic::write_register(u32 value) {
    if (select_ == kIoApicId) {
        id_ = (value >> 24) & 0xF;
    }
    if (select_ < kIoRedTbl || select_ >= kIoRedTbl + 2 * kPins) {
        return;
    }
    const unsigned index = select_ - kIoRedTbl;
    const unsigned pin = index / 2;
    const unsigned shift = index % 2 != 0 ? 32 : 0;
    const u64 writable = kWritable & (u64{0xFFFF'FFFF} << shift);
    u64& entry = entries_[pin];
    entry = (entry & ~writable) | ((u64{value} << shift) & writable);
    if (!is_level(entry)) {
        entry &= ~kRemoteIrr;  // so drivers of parts without an EOI register end an interrupt
    }
    serve_level(pin);
}

IoStatus IoApic::mmio_read(PhysAddr address, std::span<u8> data) {
    u32 value = 0;
    switch (address - ranges_[0].first) {
    case kIoRegSel: value = select_; break;
    case kIoWin: value = read_register(); break;
    default: break;
    }
    store_le(data, value);
    return IoStatus::Done;
}

IoStatus IoApic::mmio_write(PhysAddr address, std::span<const u8> data) {
    const u32 value = static_cast<u32>(load_le(data));
    switch (address - ranges_[0].first) {
    case kIoRegSel: select_ = static_cast<u8>(value); break;
    case kIoWin: write_register(value); break;
    case kEoi: end_of_interrupt(static_cast<u8>(value)); break;
    default: break;
    }
    return IoStatus::Done;
}

void IoApic::state(StateArchive& archive) {
    archive("id", id_);
    archive("select", select_);
    archive("entries", entries_);
    archive("resend_at_ns", resend_at_ns_);
    archive("resend", resend_);
    archive.over_reset([&] { archive("lines", lines_); });
}

}  // namespace droste
