#include "devices/input/i8042.hpp"

#include "devices/state_archive.hpp"

namespace droste {

namespace {

constexpr u8 kStatusOutputFull = 1U << 0;
constexpr u8 kStatusSystem = 1U << 2;
constexpr u8 kStatusCommand = 1U << 3;  // the last write went to port 64h
constexpr u8 kStatusUnlocked = 1U << 4;
constexpr u8 kStatusMouseData = 1U << 5;

constexpr u8 kModeKeyboardIrq = 1U << 0;
constexpr u8 kModeMouseIrq = 1U << 1;
constexpr u8 kModeSystem = 1U << 2;
constexpr u8 kModeKeyboardOff = 1U << 4;
constexpr u8 kModeMouseOff = 1U << 5;
constexpr u8 kModeTranslate = 1U << 6;

constexpr u8 kOutputNotReset = 1U << 0;
constexpr u8 kOutputA20 = 1U << 1;
constexpr u8 kOutputKeyboardIrq = 1U << 4;
constexpr u8 kOutputMouseIrq = 1U << 5;
constexpr u8 kOutputAlways = 0xC0;  // the clock and data lines to the keyboard

enum Command : u8 {
    kReadRam = 0x20,   // 20h-3Fh
    kWriteRam = 0x60,  // 60h-7Fh
    kDisableMouse = 0xA7,
    kEnableMouse = 0xA8,
    kTestMouse = 0xA9,
    kSelfTest = 0xAA,
    kTestKeyboard = 0xAB,
    kDisableKeyboard = 0xAD,
    kEnableKeyboard = 0xAE,
    kReadInputPort = 0xC0,
    kReadOutputPort = 0xD0,
    kWriteOutputPort = 0xD1,
    kWriteKeyboardBuffer = 0xD2,
    kWriteMouseBuffer = 0xD3,
    kWriteMouse = 0xD4,
    kDisableA20 = 0xDD,
    kEnableA20 = 0xDF,
    kPulseOutput = 0xF0,  // F0h-FFh: bits 3:0 are the lines not pulsed
};

constexpr u8 kSelfTestPassed = 0x55;
constexpr u8 kInputPort = 0x80;  // keyboard not locked
constexpr u8 kBreak = 0xF0;

// Set 2 to set 1, codes 00h-84h; above, codes are their own translation. "Scan Code Tables".
// clang-format off
constexpr std::array<u8, 0x85> kSet2ToSet1 = {
    0xFF, 0x43, 0x41, 0x3F, 0x3D, 0x3B, 0x3C, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3E, 0x0F, 0x29, 0x59,
    0x65, 0x38, 0x2A, 0x70, 0x1D, 0x10, 0x02, 0x5A, 0x66, 0x71, 0x2C, 0x1F, 0x1E, 0x11, 0x03, 0x5B,
    0x67, 0x2E, 0x2D, 0x20, 0x12, 0x05, 0x04, 0x5C, 0x68, 0x39, 0x2F, 0x21, 0x14, 0x13, 0x06, 0x5D,
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5E, 0x6A, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5F,
    0x6B, 0x33, 0x25, 0x17, 0x18, 0x0B, 0x0A, 0x60, 0x6C, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0C, 0x61,
    0x6D, 0x73, 0x28, 0x74, 0x1A, 0x0D, 0x62, 0x6E, 0x3A, 0x36, 0x1C, 0x1B, 0x75, 0x2B, 0x63, 0x76,
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7A, 0x0E, 0x7B, 0x7C, 0x4F, 0x7D, 0x4B, 0x47, 0x7E, 0x7F, 0x6F,
    0x52, 0x53, 0x50, 0x4C, 0x4D, 0x48, 0x01, 0x45, 0x57, 0x4E, 0x51, 0x4A, 0x37, 0x49, 0x46, 0x54,
    0x80, 0x81, 0x82, 0x41, 0x54,
};
// clang-format on

}  // namespace

I8042::I8042(const Outputs& outputs, Ps2Device& keyboard, Ps2Device& mouse)
    : out_(outputs)
    , keyboard_(keyboard)
    , mouse_(mouse) {
    keyboard_.set_listener([this] { refill(); });
    mouse_.set_listener([this] { refill(); });
    ram_[0] = kModeKeyboardIrq | kModeMouseIrq | kModeTranslate;
}

void I8042::reset() {
    ram_ = {};
    ram_[0] = kModeKeyboardIrq | kModeMouseIrq | kModeTranslate;
    pending_command_ = 0;
    last_write_command_ = false;
    system_flag_ = false;
    buffer_ = reply_ = 0;
    buffer_source_ = reply_source_ = Source::None;
    break_prefix_ = false;
    a20_ = true;
    out_.a20.set_level(true);
    refill();
}

IoStatus I8042::pio_read(u16 port, std::span<u8> data) {
    if (data.size() != 1) {
        return IoStatus::BadSize;
    }
    data[0] = port == kDataPort ? read_data() : status();
    return IoStatus::Done;
}

IoStatus I8042::pio_write(u16 port, std::span<const u8> data) {
    if (data.size() != 1) {
        return IoStatus::BadSize;
    }
    last_write_command_ = port != kDataPort;
    if (last_write_command_) {
        write_command(data[0]);
    } else {
        write_data(data[0]);
    }
    refill();
    return IoStatus::Done;
}

u8 I8042::status() const {
    return static_cast<u8>(
        kStatusUnlocked | (buffer_source_ != Source::None ? kStatusOutputFull : 0) |
        (buffer_source_ == Source::Mouse ? kStatusMouseData : 0) |
        (system_flag_ ? kStatusSystem : 0) | (last_write_command_ ? kStatusCommand : 0));
}

u8 I8042::read_data() {
    buffer_source_ = Source::None;
    // The line falls before the next byte raises it: an edge-triggered 8259 sees each byte.
    out_.irq1.set_level(false);
    out_.irq12.set_level(false);
    const u8 value = buffer_;
    refill();
    return value;
}

void I8042::reply(u8 value, Source source) {
    reply_ = value;
    reply_source_ = source;
}

u8 I8042::output_port() const {
    return static_cast<u8>(kOutputAlways | kOutputNotReset | (a20_ ? kOutputA20 : 0) |
                           (buffer_source_ == Source::Keyboard ? kOutputKeyboardIrq : 0) |
                           (buffer_source_ == Source::Mouse ? kOutputMouseIrq : 0));
}

void I8042::write_output_port(u8 value) {
    a20_ = (value & kOutputA20) != 0;
    out_.a20.set_level(a20_);
    if ((value & kOutputNotReset) == 0) {
        out_.cpu_reset.pulse();
    }
}

void I8042::write_command(u8 command) {
    pending_command_ = 0;
    if (command >= kReadRam && command < kReadRam + ram_.size()) {
        reply(ram_[command - kReadRam]);
        return;
    }
    if (command >= kWriteRam && command < kWriteRam + ram_.size()) {
        pending_command_ = command;
        return;
    }
    if (command >= kPulseOutput) {
        if ((command & kOutputNotReset) == 0) {
            out_.cpu_reset.pulse();
        }
        return;
    }
    switch (command) {
    case kDisableMouse: ram_[0] |= kModeMouseOff; break;
    case kEnableMouse: ram_[0] = static_cast<u8>(ram_[0] & ~kModeMouseOff); break;
    case kDisableKeyboard: ram_[0] |= kModeKeyboardOff; break;
    case kEnableKeyboard: ram_[0] = static_cast<u8>(ram_[0] & ~kModeKeyboardOff); break;
    case kTestMouse:
    case kTestKeyboard: reply(0x00); break;
    case kSelfTest:
        system_flag_ = true;
        ram_[0] |= kModeSystem;
        reply(kSelfTestPassed);
        break;
    case kReadInputPort: reply(kInputPort); break;
    case kReadOutputPort: reply(output_port()); break;
    case kDisableA20:
    case kEnableA20:
        a20_ = command == kEnableA20;
        out_.a20.set_level(a20_);
        break;
    case kWriteOutputPort:
    case kWriteKeyboardBuffer:
    case kWriteMouseBuffer:
    case kWriteMouse: pending_command_ = command; break;
    default: break;  // unknown commands are ignored
    }
}

void I8042::write_data(u8 value) {
    const u8 command = pending_command_;
    pending_command_ = 0;
    if (command >= kWriteRam && command < kWriteRam + ram_.size()) {
        ram_[command - kWriteRam] = value;
        if (command == kWriteRam) {
            system_flag_ = (value & kModeSystem) != 0;
        }
        return;
    }
    switch (command) {
    case kWriteOutputPort: write_output_port(value); break;
    case kWriteKeyboardBuffer: reply(value); break;
    case kWriteMouseBuffer: reply(value, Source::Mouse); break;
    case kWriteMouse:
        ram_[0] = static_cast<u8>(ram_[0] & ~kModeMouseOff);
        mouse_.write(value);
        break;
    default:
        // "a write to the keyboard ... enables the keyboard interface"
        ram_[0] = static_cast<u8>(ram_[0] & ~kModeKeyboardOff);
        keyboard_.write(value);
        break;
    }
}

u8 I8042::translate(u8 scan_code) {
    const u8 code = scan_code < kSet2ToSet1.size() ? kSet2ToSet1[scan_code] : scan_code;
    const u8 released = break_prefix_ ? 0x80 : 0;
    break_prefix_ = false;
    return static_cast<u8>(code | released);
}

void I8042::refill() {
    const u8 mode = ram_[0];
    if (buffer_source_ == Source::None && reply_source_ != Source::None) {
        buffer_ = reply_;
        buffer_source_ = reply_source_;
        reply_source_ = Source::None;
    }
    while (buffer_source_ == Source::None && (mode & kModeKeyboardOff) == 0 &&
           keyboard_.has_data()) {
        const u8 value = keyboard_.take();
        if ((mode & kModeTranslate) == 0) {
            buffer_ = value;
        } else if (value == kBreak) {
            break_prefix_ = true;
            continue;
        } else {
            buffer_ = translate(value);
        }
        buffer_source_ = Source::Keyboard;
    }
    if (buffer_source_ == Source::None && (mode & kModeMouseOff) == 0 && mouse_.has_data()) {
        buffer_ = mouse_.take();
        buffer_source_ = Source::Mouse;
    }
    out_.irq1.set_level(buffer_source_ == Source::Keyboard && (mode & kModeKeyboardIrq) != 0);
    out_.irq12.set_level(buffer_source_ == Source::Mouse && (mode & kModeMouseIrq) != 0);
}

void I8042::state(StateArchive& archive) {
    archive("ram", ram_);
    archive("pending_command", pending_command_);
    archive("last_write_command", last_write_command_);
    archive("a20", a20_);
    archive("system_flag", system_flag_);
    archive("buffer", buffer_);
    archive("buffer_source", buffer_source_);
    archive("reply", reply_);
    archive("reply_source", reply_source_);
    archive("break_prefix", break_prefix_);
}

}  // namespace droste
