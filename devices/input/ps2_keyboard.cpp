#include "devices/input/ps2_keyboard.hpp"

#include "devices/state_archive.hpp"

namespace droste {

namespace {

constexpr u8 kSetLeds = 0xED;
constexpr u8 kEcho = 0xEE;
constexpr u8 kScanCodeSet = 0xF0;
constexpr u8 kReadId = 0xF2;
constexpr u8 kSetTypematic = 0xF3;
constexpr u8 kEnable = 0xF4;
constexpr u8 kDefaultDisable = 0xF5;
constexpr u8 kSetDefault = 0xF6;
constexpr u8 kSetAllKeysFirst = 0xF7;  // F7h-FAh: all keys typematic, make/break, ... (set 3)
constexpr u8 kSetAllKeysLast = 0xFA;
constexpr u8 kSetKeyLast = 0xFD;  // FBh-FDh: the same for one key
constexpr u8 kResendLast = 0xFE;
constexpr u8 kReset = 0xFF;

}  // namespace

void Ps2Keyboard::set_defaults() {
    scan_code_set_ = 2;
    pending_command_ = 0;
}

void Ps2Keyboard::reset() {
    clear_queue();
    set_defaults();
    leds_ = 0;
    scanning_ = true;
}

void Ps2Keyboard::send_scan_code(std::span<const u8> bytes) {
    if (scanning_) {
        send(bytes);
    }
}

void Ps2Keyboard::write(u8 value) {
    if (pending_command_ != 0 && value < kSetLeds) {
        write_argument(value);
        return;
    }
    pending_command_ = 0;
    switch (value) {
    case kEcho: send({kEcho}); return;
    case kReadId: send({kAcknowledge, 0xAB, 0x83}); return;
    case kSetLeds:
    case kScanCodeSet:
    case kSetTypematic: pending_command_ = value; break;
    case kEnable: scanning_ = true; break;
    case kDefaultDisable:
    case kSetDefault:
        clear_queue();
        set_defaults();
        scanning_ = value == kSetDefault;
        break;
    case kResendLast: send({last_sent()}); return;
    case kReset:
        reset();
        send({kAcknowledge, kSelfTestPassed});
        return;
    default:
        if (value < kSetAllKeysFirst) {
            send({kResend});
            return;
        }
        if (value > kSetAllKeysLast && value <= kSetKeyLast) {
            pending_command_ = value;
        }
        break;
    }
    send({kAcknowledge});
}

void Ps2Keyboard::write_argument(u8 value) {
    const u8 command = pending_command_;
    pending_command_ = 0;
    if (command == kSetLeds) {
        leds_ = value & 7;
    } else if (command == kScanCodeSet) {
        if (value == 0) {
            send({kAcknowledge, scan_code_set_});
            return;
        }
        if (value > 3) {
            send({kResend});
            return;
        }
        scan_code_set_ = value;
    }
    send({kAcknowledge});
}

void Ps2Keyboard::state(StateArchive& archive) {
    Ps2Device::state(archive);
    archive("pending_command", pending_command_);
    archive("leds", leds_);
    archive("scan_code_set", scan_code_set_);
    archive("scanning", scanning_);
}

}  // namespace droste
