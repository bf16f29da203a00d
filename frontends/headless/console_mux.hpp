#pragma once
// One terminal for two: the guest's serial port and the monitor. Ctrl-A is the escape:
//   Ctrl-A h  help      Ctrl-A x  end the run      Ctrl-A c  switch      Ctrl-A Ctrl-A  send Ctrl-A

#include "core/char_backend.hpp"

#include <array>
#include <deque>
#include <functional>
#include <string_view>

namespace droste {

class ConsoleMux final : public CharReceiver {
  public:
    // Borrows the terminal and becomes its receiver. `interactive`: a person types, so input is
    // always read (Ctrl-A x must work while the guest sleeps); otherwise the guest sets the pace.
    ConsoleMux(CharBackend& terminal, bool interactive, std::function<void()> on_quit);
    ~ConsoleMux() override;

    // What the guest's port is connected to.
    CharBackend& guest_side() { return guest_; }
    // What the monitor is connected to.
    CharBackend& monitor_side() { return monitor_; }
    // Told when the monitor gets the focus (it prints a prompt).
    void set_on_monitor_focus(std::function<void()> callback) {
        on_monitor_focus_ = std::move(callback);
    }

    std::size_t receive_room() const override;
    void receive(std::span<const u8> bytes) override;

  private:
    class Side final : public CharBackend {
      public:
        explicit Side(ConsoleMux& mux) : mux_(mux) {}
        void write(std::span<const u8> bytes) override { mux_.terminal_.write(bytes); }
        void set_receiver(CharReceiver* receiver) override { receiver_ = receiver; }
        void receiver_ready() override { deliver(); }
        void queue(u8 byte);
        void deliver();
        std::size_t queued() const { return waiting_.size(); }

      private:
        ConsoleMux& mux_;
        CharReceiver* receiver_ = nullptr;
        std::deque<u8> waiting_;
    };
    static constexpr u8 kEscape = 0x01;
    static constexpr std::size_t kMaxQueued = 4096;

    void take_escaped(u8 byte);
    void print(std::string_view text);
    void switch_focus();

    CharBackend& terminal_;
    bool interactive_;
    std::function<void()> on_quit_;
    std::function<void()> on_monitor_focus_;
    Side guest_{*this};
    Side monitor_{*this};
    Side* focus_ = &guest_;
    bool escaped_ = false;
};

}  // namespace droste
