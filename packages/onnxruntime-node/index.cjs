'use strict';

const common = require('onnxruntime-common');
const { bindOnnxRuntime } = require('tenon/onnxruntime/bind');

// The instance that is found from here is the dependent's, which that of tenon need not be.
const api = { ...common, ...bindOnnxRuntime(common) };

module.exports = { ...api, default: api };
