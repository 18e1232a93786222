#pragma once

#include <string_view>

#include "engines/tensorflow/abi.h"

namespace tenon::tensorflow {

// Elements of a string tensor. The functions of the library do the work where
// it exports them; older ones leave the layout to the caller (string_layout).
// An element holds its own bytes and TensorFlow may free them, so both sides
// must use one heap: the C library's malloc.

// Makes the uninitialised `element` a copy of `text`; false where there is no memory.
bool WriteString(const Api& api, std::string_view text, TF_TString* element);

// The bytes of `element`, valid until it changes.
std::string_view ReadString(const Api& api, const TF_TString& element);

// Frees what `element` owns. It must not be used afterwards.
void ClearString(const Api& api, TF_TString* element);

// The same by the layout alone. The two low bits of an element's first byte
// tell its kind, and sizes are shifted left by two to make room for them:
//   0  small   size (1 byte), then up to 22 bytes of text
//   1  large   size, capacity, pointer (8 bytes each); owns the pointer
//   2  offset  size, distance of the text from the element (4 bytes each)
//   3  view    size, pointer (8 bytes each); owns nothing
namespace string_layout {

bool Write(std::string_view text, TF_TString* element);
std::string_view Read(const TF_TString& element);
void Clear(TF_TString* element);

}  // namespace string_layout
}  // namespace tenon::tensorflow
