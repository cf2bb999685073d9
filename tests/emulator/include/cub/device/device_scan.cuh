#pragma once
#include "../calls.h"
