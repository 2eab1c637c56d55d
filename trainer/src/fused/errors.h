// How exceptions leave C++: as texts, which the other side gives back to `autorep_fused_free`.
#pragma once

#include <cstdlib>
#include <cstring>
#include <exception>

namespace autorep {

inline char* said(const char* text) {
  char* copy = static_cast<char*>(std::malloc(std::strlen(text) + 1));
  if (copy != nullptr) std::strcpy(copy, text);
  return copy;
}

// What went wrong in `f`, or null.
template <typename F>
char* caught(const F& f) {
  try {
    f();
    return nullptr;
  } catch (const std::exception& error) {
    return said(error.what());
  } catch (...) {
    return said("an unknown error");
  }
}

}  // namespace autorep
