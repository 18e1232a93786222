export * from 'tenon/onnxruntime';
export { default } from 'tenon/onnxruntime';
