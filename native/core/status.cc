#include "core/status.h"

namespace tenon {

std::string_view StatusCodeName(StatusCode code) {
  switch (code) {
    case StatusCode::kOk: return "OK";
    case StatusCode::kInvalidArgument: return "ERR_TENON_INVALID_ARGUMENT";
    case StatusCode::kEngineLoad: return "ERR_TENON_ENGINE_LOAD";
    case StatusCode::kEngineVersion: return "ERR_TENON_ENGINE_VERSION";
    case StatusCode::kEngineConflict: return "ERR_TENON_ENGINE_CONFLICT";
    case StatusCode::kModelNotFound: return "ERR_TENON_MODEL_NOT_FOUND";
    case StatusCode::kModelInvalid: return "ERR_TENON_MODEL_INVALID";
    case StatusCode::kUnknownTag: return "ERR_TENON_UNKNOWN_TAG";
    case StatusCode::kUnknownSignature: return "ERR_TENON_UNKNOWN_SIGNATURE";
    case StatusCode::kModelClosed: return "ERR_TENON_MODEL_CLOSED";
    case StatusCode::kPoolClosed: return "ERR_TENON_POOL_CLOSED";
    case StatusCode::kProvider: return "ERR_TENON_PROVIDER";
    case StatusCode::kUnknownFeed: return "ERR_TENON_UNKNOWN_FEED";
    case StatusCode::kMissingFeed: return "ERR_TENON_MISSING_FEED";
    case StatusCode::kUnknownOutput: return "ERR_TENON_UNKNOWN_OUTPUT";
    case StatusCode::kDType: return "ERR_TENON_DTYPE";
    case StatusCode::kShape: return "ERR_TENON_SHAPE";
    case StatusCode::kDataLength: return "ERR_TENON_DATA_LENGTH";
    case StatusCode::kDetached: return "ERR_TENON_DETACHED";
    case StatusCode::kDisposed: return "ERR_TENON_DISPOSED";
    case StatusCode::kBindingBusy: return "ERR_TENON_BINDING_BUSY";
    case StatusCode::kConfigure: return "ERR_TENON_CONFIGURE";
    case StatusCode::kTooLarge: return "ERR_TENON_TOO_LARGE";
    case StatusCode::kUnsupported: return "ERR_TENON_UNSUPPORTED";
    case StatusCode::kOutOfMemory: return "ERR_TENON_OUT_OF_MEMORY";
    case StatusCode::kRun: return "ERR_TENON_RUN";
    case StatusCode::kBatch: return "ERR_TENON_BATCH";
    case StatusCode::kAborted: return "ERR_TENON_ABORTED";
    case StatusCode::kQueueFull: return "ERR_TENON_QUEUE_FULL";
    case StatusCode::kInternal: return "ERR_TENON_INTERNAL";
  }
  return "ERR_TENON_INTERNAL";
}

}  // namespace tenon
