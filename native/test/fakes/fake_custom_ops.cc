// A library of custom operators that reads what it is given and refuses.

#include "engines/onnxruntime/abi.h"
#include "test/fakes/fake_onnxruntime.h"

using namespace tenon::onnxruntime;

FAKE_EXPORT OrtStatus* TENON_ORT_CALL RegisterCustomOps(OrtSessionOptions* options,
                                                        const OrtApiBase* base) {
  const void* const table = base->GetApi(kOldestMinor);
  if (options == nullptr || table == nullptr) return nullptr;
  // CreateStatus is slot 0.
  using CreateStatus = OrtStatus*(TENON_ORT_CALL*)(OrtErrorCode, const char*);
  const auto create = reinterpret_cast<CreateStatus>(static_cast<void* const*>(table)[0]);
  return create(kOrtFail, "the fake operators say no");
}
