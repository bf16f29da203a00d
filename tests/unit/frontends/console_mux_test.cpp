// Ctrl-A on the terminal: the escape keys, and the monitor that shares it.

#include "frontends/headless/console_mux.hpp"
#include "frontends/headless/text_watcher.hpp"

#include <catch2/catch.hpp>

#include <string>
#include <string_view>

namespace droste {
namespace {

class FakeTerminal final : public CharBackend {
  public:
    void write(std::span<const u8> bytes) override { printed.append(bytes.begin(), bytes.end()); }
    void set_receiver(CharReceiver* receiver) override { receiver_ = receiver; }
    void type(std::string_view text) {
        receiver_->receive({reinterpret_cast<const u8*>(text.data()), text.size()});
    }
    std::string printed;

  private:
    CharReceiver* receiver_ = nullptr;
};

class FakePort final : public CharReceiver {
  public:
    std::size_t receive_room() const override { return room; }
    void receive(std::span<const u8> bytes) override {
        got.append(bytes.begin(), bytes.end());
        room -= bytes.size();
    }
    std::size_t room = 1000;
    std::string got;
};

struct Fixture {
    FakeTerminal terminal;
    bool quit = false;
    ConsoleMux mux{terminal, true, [this] { quit = true; }};
    FakePort guest, monitor;
    Fixture() {
        mux.guest_side().set_receiver(&guest);
        mux.monitor_side().set_receiver(&monitor);
    }
};

TEST_CASE("Console: what is typed goes to the guest, and after Ctrl-A c to the monitor") {
    Fixture f;
    f.terminal.type("ls\r");
    f.terminal.type("\x01"
                    "cinfo\x01"
                    "cps");
    CHECK(f.guest.got == "ls\rps");
    CHECK(f.monitor.got == "info");
}

TEST_CASE("Console: Ctrl-A x quits, Ctrl-A Ctrl-A sends Ctrl-A, Ctrl-A h helps") {
    Fixture f;
    f.terminal.type("\x01\x01");
    CHECK(f.guest.got == "\x01");
    CHECK_FALSE(f.quit);
    f.terminal.type("\x01");
    f.terminal.type("h");
    CHECK(f.terminal.printed.find("Ctrl-A x") != std::string::npos);
    f.terminal.type("\x01x");
    CHECK(f.quit);
    CHECK(f.guest.got == "\x01");
}

TEST_CASE("Console: input waits until the guest has room") {
    Fixture f;
    f.guest.room = 2;
    f.terminal.type("abcd");
    CHECK(f.guest.got == "ab");
    f.guest.room = 10;
    f.mux.guest_side().receiver_ready();
    CHECK(f.guest.got == "abcd");
}

TEST_CASE(
    "Text watcher: matches across writes and overlapping beginnings, prints up to the match") {
    FakeTerminal terminal;
    int matches = 0;
    TextWatcher watcher(terminal, "aab", [&] { ++matches; });
    const auto print = [&](std::string_view text) {
        watcher.write({reinterpret_cast<const u8*>(text.data()), text.size()});
    };
    print("xa");
    print("a");
    CHECK(matches == 0);
    print("abrest");
    CHECK(matches == 1);
    CHECK(terminal.printed == "xaaab");
    print("aab");
    CHECK(matches == 1);
}

}  // namespace
}  // namespace droste
