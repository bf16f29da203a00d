// Runs rows as it is told and prints what came out. The native program, /init and the bare kernel give it a way to read, to print and to
// count ticks. A command is a line "NAME UNITS"; its answer:
//
//   <                                the units begin: run.py takes the native time
//   >                                they have ended
//   BENCH NAME SUM OPERATIONS TICKS  checksum of a unit, operations of all of them, ticks of the time-stamp counter
// or
//   BENCH NAME out REASON            the row is not there, or not for this CPU
//   BENCH NAME wrong SUM SUM         two units did not agree
// "quit" ends it. No clock of the guest is asked: one that follows the native machine's by slewing, as Droste's does, is not
// exact over the time of a row.
#pragma once

#include "rows.h"

struct Place {
    int (*read_line)(char* line, unsigned size);  // false: no more
    void (*print)(const char* text);              // returns when the text has left, or nearly
};

struct Table {
    const struct Row* rows;
    unsigned count;
};

// Runs what `line` says. False: it says quit.
int run_command(const char* line, const struct Table* tables, unsigned table_count, const struct Place* place);

// Runs commands until there are no more.
void serve(const struct Table* tables, unsigned table_count, const struct Place* place);
