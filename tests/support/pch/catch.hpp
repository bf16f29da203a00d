// As core/pch/standard.hpp, for unit tests.
#include "core/pch/standard.hpp"

#include <catch2/catch.hpp>
