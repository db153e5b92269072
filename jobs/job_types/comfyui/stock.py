"""What we know of stock ComfyUI nodes by name: which may run, which read files, which load models.

An allow-list, not a deny-list: a node nobody here has looked at stays out until an instructor lets it in.
"""

# Why some stock nodes are not on the list below.
WITHHELD = {
    **dict.fromkeys(
        [
            "CheckpointSave",
            "CLIPSave",
            "VAESave",
            "ModelSave",
            "ImageOnlyCheckpointSave",
            "SaveLoRA",
            "LoraSave",
        ],
        "it writes whole models to the GPU host's disk",
    ),
    **dict.fromkeys(
        [
            "LoadImageDataSetFromFolder",
            "LoadImageTextDataSetFromFolder",
            "LoadVideoDataSetFromFolder",
            "LoadVideoTextDataSetFromFolder",
            "LoadTrainingDataset",
            "LoadImageOutput",
            "DiffusersLoader",
            "CheckpointLoader",
        ],
        "it reads folders of the GPU host that are not yours alone",
    ),
    **dict.fromkeys(
        [
            "SaveImageDataSetToFolder",
            "SaveImageTextDataSetToFolder",
            "SaveTrainingDataset",
            "MakeTrainingDataset",
            "ResolutionBucket",
            "TrainLoraNode",
            "LossGraphNode",
        ],
        "training and data sets are not offered here",
    ),
    **dict.fromkeys(
        ["Load3D", "Load3DAdvanced", "WebcamCapture", "RecordAudio"],
        "it needs the editor's window open in a browser",
    ),
    **dict.fromkeys(
        ["MultiGPU_WorkUnits", "SelectModelDevice", "SelectCLIPDevice", "SelectVAEDevice"],
        "a job runs on one GPU, chosen by the site",
    ),
}

# Node → input that names a file of the student's.
FILE_INPUTS = {
    "LoadImage": "image",
    "LoadImageMask": "image",
    "LoadAudio": "audio",
    "LoadVideo": "file",
    "LoadLatent": "latent",
    "Painter": "mask",
    "Preview3D": "model_file",
}

# Nodes whose file was drawn in the editor, which says after its name which of ComfyUI's folders it is in.
DRAWN_FILES = frozenset({"Painter"})

# Node → {input that names a model file: ComfyUI's models folder}.
MODEL_INPUTS: dict[str, dict[str, str]] = {
    **{
        node: {"ckpt_name": "checkpoints"}
        for node in [
            "CheckpointLoaderSimple",
            "CheckpointLoader",
            "unCLIPCheckpointLoader",
            "ImageOnlyCheckpointLoader",
            "LTXVAudioVAELoader",
            "CreateHookModelAsLora",
            "CreateHookModelAsLoraModelOnly",
        ]
    },
    **{
        node: {"lora_name": "loras"}
        for node in [
            "LoraLoader",
            "LoraLoaderModelOnly",
            "LoraLoaderBypass",
            "LoraLoaderBypassModelOnly",
            "CreateHookLora",
            "CreateHookLoraModelOnly",
        ]
    },
    "UNETLoader": {"unet_name": "diffusion_models"},
    "VAELoader": {"vae_name": "vae"},
    "CLIPLoader": {"clip_name": "text_encoders"},
    "DualCLIPLoader": {f"clip_name{n}": "text_encoders" for n in (1, 2)},
    "TripleCLIPLoader": {f"clip_name{n}": "text_encoders" for n in (1, 2, 3)},
    "QuadrupleCLIPLoader": {f"clip_name{n}": "text_encoders" for n in (1, 2, 3, 4)},
    "LTXAVTextEncoderLoader": {"text_encoder": "text_encoders", "ckpt_name": "checkpoints"},
    "ControlNetLoader": {"control_net_name": "controlnet"},
    "DiffControlNetLoader": {"control_net_name": "controlnet"},
    "StyleModelLoader": {"style_model_name": "style_models"},
    "CLIPVisionLoader": {"clip_name": "clip_vision"},
    "GLIGENLoader": {"gligen_name": "gligen"},
    "HypernetworkLoader": {"hypernetwork_name": "hypernetworks"},
    "PhotoMakerLoader": {"photomaker_model_name": "photomaker"},
    "UpscaleModelLoader": {"model_name": "upscale_models"},
    "LatentUpscaleModelLoader": {"model_name": "latent_upscale_models"},
    "ModelPatchLoader": {"name": "model_patches"},
    "AudioEncoderLoader": {"audio_encoder_name": "audio_encoders"},
    "LoadBackgroundRemovalModel": {"bg_removal_name": "background_removal"},
    "FrameInterpolationModelLoader": {"model_name": "frame_interpolation"},
    "OpticalFlowLoader": {"model_name": "optical_flow"},
    "LoadMoGeModel": {"model_name": "geometry_estimation"},
    "LoadDA3Model": {"model_name": "geometry_estimation"},
    "LoadMediaPipeFaceLandmarker": {"model_name": "detection"},
}

# Choices that depend on what else a GPU host has installed; where any model counts as present, so do these.
HOST_CHOICES = frozenset({("ModelAttentionBackend", "attention")})

# Choices of model inputs that are built in, not files.
BUILT_IN_MODELS = frozenset({"pixel_space", "taesd", "taesdxl", "taesd3", "taef1"})

_NAMES = """
APG ARVideoI2V AddLayer AddNoise AddTextPrefix AddTextSuffix AdjustBrightness AdjustContrast
AlignYourStepsScheduler AnimaLLLiteApply ApplyTextureToMesh AudioAdjustVolume AudioConcat
AudioEncoderEncode AudioEncoderLoader AudioEqualizer3Band AudioMerge BakeAmbientOcclusion
BakeNormalMapFromMesh BakeTextureFromVoxel BasicGuider BasicScheduler BatchImagesNode BatchLatentsNode
BatchMasksNode BerniniConditioning BetaSamplingScheduler BuildJsonPromptIdeogram CFGGuider CFGNorm
CFGOverride CFGZeroStar CLIPAttentionMultiply CLIPLoader CLIPMergeAdd CLIPMergeSimple CLIPMergeSubtract
CLIPSetLastLayer CLIPTextEncode CLIPTextEncodeControlnet CLIPTextEncodeFlux CLIPTextEncodeHiDream
CLIPTextEncodeHunyuanDiT CLIPTextEncodeKandinsky5 CLIPTextEncodeLumina2 CLIPTextEncodePixArtAlpha
CLIPTextEncodeSD3 CLIPTextEncodeSDXL CLIPTextEncodeSDXLRefiner CLIPVisionEncode CLIPVisionLoader Canny
CaseConverter CenterCropImages CheckpointLoaderSimple ChromaRadianceOptions ColorToRGBInt ColorTransfer
CombineHooks2 CombineHooks4 CombineHooks8 ComfyAndNode ComfyMathExpression ComfyNotNode ComfyNumberConvert
ComfyOrNode ComfySwitchNode ConditioningAverage ConditioningCombine ConditioningConcat
ConditioningMultiply ConditioningSetArea ConditioningSetAreaPercentage ConditioningSetAreaPercentageVideo
ConditioningSetAreaStrength ConditioningSetDefaultCombine ConditioningSetMask ConditioningSetProperties
ConditioningSetPropertiesAndCombine ConditioningSetTimestepRange ConditioningStableAudio
ConditioningTimestepsRange ConditioningZeroOut ContextWindowsManual ControlNetApply
ControlNetApplyAdvanced ControlNetApplySD3 ControlNetInpaintingAliMamaApply ControlNetLoader
ConvertArrayToString ConvertDictionaryToString CosmosImageToVideoLatent CosmosPredict2ImageToVideoLatent
CreateBoundingBoxes CreateCameraInfo CreateHookKeyframe CreateHookKeyframesFromFloats
CreateHookKeyframesInterpolated CreateHookLora CreateHookLoraModelOnly CreateHookModelAsLora
CreateHookModelAsLoraModelOnly CreateList CreateVideo CropByBBoxes CropMask CurveEditor CustomCombo
DA3GeometryToMesh DA3Inference DA3Render DecimateMesh DiffControlNetLoader DifferentialDiffusion
DisableNoise DrawBBoxes DualCFGGuider DualCLIPLoader DualModelGuider EasyCache EmptyARVideoLatent
EmptyAceStep1.5LatentAudio EmptyAceStepLatentAudio EmptyAudio EmptyChromaRadianceLatentImage
EmptyCosmosLatentVideo EmptyFlux2LatentImage EmptyHiDreamO1LatentImage EmptyHunyuanImageLatent
EmptyHunyuanLatentVideo EmptyHunyuanVideo15Latent EmptyImage EmptyLTXVLatentVideo EmptyLatentAudio
EmptyLatentHunyuan3Dv2 EmptyLatentImage EmptyMiniMaxH3LatentAV EmptyMiniMaxMusic3LatentAudio
EmptyMochiLatentVideo EmptyQwenImageLayeredLatentImage EmptySD3LatentImage EmptyTrellis2LatentStructure
ExponentialScheduler ExtendIntermediateSigmas FeatherMask File3DToSplat FillHoles FlipSigmas
Flux2Scheduler FluxDisableGuidance FluxGuidance FluxKVCache FluxKontextImageScale
FluxKontextMultiReferenceLatentMethod FrameInterpolate FrameInterpolationModelLoader FreSca FreeU FreeU_V2
GITSScheduler GLIGENLoader GLIGENTextBoxApply GLSLShader GenerateTracks GetICLoRAParameters GetImageSize
GetMeshInfo GetSplatCount GetVideoComponents GrowMask HiDreamO1PatchSeamSmoothing HiDreamO1ReferenceImages
Hunyuan3Dv2Conditioning Hunyuan3Dv2ConditioningMultiView HunyuanImageToVideo HunyuanRefinerLatent
HunyuanVideo15ImageToVideo HunyuanVideo15LatentUpscaleWithModel HunyuanVideo15SuperResolution HyperTile
HypernetworkLoader Ideogram4Scheduler ImageAddNoise ImageBatch ImageBlend ImageBlur ImageColorToMask
ImageCompare ImageCompositeMasked ImageCompositor ImageCrop ImageCropToMask ImageCropV2 ImageDeduplication
ImageFlip ImageFromBatch ImageGrid ImageHistogram ImageInvert ImageMergeTileList ImageOnlyCheckpointLoader
ImagePadForOutpaint ImageQuantize ImageRGBToYUV ImageRotate ImageScale ImageScaleBy
ImageScaleToMaxDimension ImageScaleToTotalPixels ImageSharpen ImageStitch ImageToMask
ImageUpscaleWithModel ImageYUVToRGB InpaintModelConditioning InstructPixToPixConditioning InvertMask
JoinAudioChannels JoinImageWithAlpha JsonExtractString KSampler KSamplerAdvanced KSamplerSelect
Kandinsky5ImageToVideo KarrasScheduler LTXAVTextEncoderLoader LTXVAddGuide LTXVAudioVAEDecode
LTXVAudioVAEEncode LTXVAudioVAELoader LTXVConcatAVLatent LTXVConditioning LTXVContextWindows
LTXVCropGuides LTXVDualCFGGuider LTXVDurationPredictor LTXVEmptyLatentAudio LTXVImgToVideo
LTXVImgToVideoInplace LTXVLatentUpsampler LTXVModalityGuidance LTXVPreprocess LTXVReferenceAudio
LTXVScheduler LTXVSeparateAVLatent LTXVSpatioTemporalGuidance LaplaceScheduler LatentAdd
LatentApplyOperation LatentApplyOperationCFG LatentBatch LatentBatchSeedBehavior LatentBlend
LatentComposite LatentCompositeMasked LatentConcat LatentCrop LatentCut LatentCutToBatch LatentFlip
LatentFromBatch LatentInterpolate LatentMultiply LatentOperationSharpen LatentOperationTonemapReinhard
LatentRotate LatentSubtract LatentUpscale LatentUpscaleBy LatentUpscaleModelLoader LayersFromBoundingBoxes
LazyCache LoadAudio LoadBackgroundRemovalModel LoadDA3Model LoadImage LoadImageMask LoadLatent
LoadMediaPipeFaceLandmarker LoadMoGeModel LoadVideo LoraLoader LoraLoaderBypass LoraLoaderBypassModelOnly
LoraLoaderModelOnly LoraModelLoader LotusConditioning Mahiro ManualSigmas MaskComposite MaskPreview
MaskToImage MediaPipeFaceLandmarker MediaPipeFaceMask MediaPipeFaceMeshVisualize MergeImageLists
MergeMeshes MergeSplat MergeTextLists MeshSmoothNormals MeshTextureToImage MeshToFile3D MiniMaxH3AddGuide
MiniMaxH3ImageToVideo MiniMaxH3ReferenceToVideo MiniMaxH3SigmaShift MiniMaxMusic3TextEncode
MoGeGeometryToFOV MoGeInference MoGePanoramaInference MoGePointMapToMesh MoGeRender ModelAttentionBackend
ModelComputeDtype ModelMergeAdd ModelMergeAuraflow ModelMergeBlocks ModelMergeCosmos14B ModelMergeCosmos7B
ModelMergeCosmosPredict2_14B ModelMergeCosmosPredict2_2B ModelMergeFlux1 ModelMergeKrea2 ModelMergeLTXV
ModelMergeMochiPreview ModelMergeQwenImage ModelMergeSD1 ModelMergeSD2 ModelMergeSD35_Large
ModelMergeSD3_2B ModelMergeSDXL ModelMergeSimple ModelMergeSubtract ModelMergeWAN2_1 ModelNoiseScale
ModelPatchLoader ModelSamplingAuraFlow ModelSamplingContinuousEDM ModelSamplingContinuousV
ModelSamplingDiscrete ModelSamplingFlux ModelSamplingLTXV ModelSamplingSD3 ModelSamplingStableCascade
Morphology NAGuidance NormalizeImages NormalizeVideoLatentStart OpticalFlowLoader OptimalStepsScheduler
PaintMesh Painter PairConditioningCombine PairConditioningSetDefaultCombine PairConditioningSetProperties
PairConditioningSetPropertiesAndCombine PatchModelAddDownscale PerpNeg PerpNegGuider
PerturbedAttentionGuidance PhotoMakerEncode PhotoMakerLoader PiDConditioning Pixal3DConditioning
PolyexponentialScheduler PorterDuffImageComposite Preview3D Preview3DAdvanced PreviewAny PreviewAudio
PreviewGaussianSplat PreviewImage PreviewPointCloud PrimitiveBoolean PrimitiveBoundingBox PrimitiveFloat
PrimitiveInt PrimitiveString PrimitiveStringMultiline QuadrupleCLIPLoader QwenImageDiffsynthControlnet
RTDETR_detect RandomCropImages RandomNoise RebatchImages RebatchLatents ReferenceLatent
ReferenceTimbreAudio RegexExtract RegexMatch RegexReplace RemeshMesh RemoveBackground RenderMesh
RenderSplat RenderUVAtlas RenormCFG RepeatImageBatch RepeatLatentBatch ReplaceText
ReplaceVideoLatentFrames RescaleCFG ResizeAndPadImage ResizeImageMaskNode ResizeImagesByLongerEdge
ResizeImagesByShorterEdge ResolutionSelector RotateMesh SAM3_Detect SAM3_TrackPreview SAM3_TrackToMask
SAM3_VideoTrack SCAIL2ColoredMask SDPoseDrawKeypoints SDPoseFaceBBoxes SDPoseKeypointExtractor
SDTurboScheduler SD_4XUpscale_Conditioning SUPIRApply SV3D_Conditioning SVD_img2vid_Conditioning
SamplerARVideo SamplerCustom SamplerCustomAdvanced SamplerDPMAdaptative SamplerDPMPP_2M_SDE
SamplerDPMPP_2S_Ancestral SamplerDPMPP_3M_SDE SamplerDPMPP_SDE SamplerER_SDE SamplerEulerAncestral
SamplerEulerAncestralCFGPP SamplerEulerCFGpp SamplerLCM SamplerLCMUpscale SamplerLMS SamplerSASolver
SamplerSEEDS2 SamplingPercentToSigma Save3DAdvanced SaveAnimatedPNG SaveAnimatedWEBP SaveAudio
SaveAudioAdvanced SaveAudioMP3 SaveAudioOpus SaveGLB SaveGaussianSplat SaveImage SaveImageAdvanced
SaveLatent SavePointCloud SaveSVGNode SaveText SaveVideo SaveWEBM ScaleROPE SeedNode SeedVR2Conditioning
SeedVR2PostProcessing SeedVR2Preprocess SeedVR2TemporalChunk SeedVR2TemporalMerge SelfAttentionGuidance
SetClipHooks SetFirstSigma SetHookKeyframes SetLatentNoiseMask SetUnionControlNetType ShuffleDataset
ShuffleImageTextDataset ShuffleVideoDataset ShuffleVideoTextDataset SkipLayerGuidanceDiT
SkipLayerGuidanceDiTSimple SkipLayerGuidanceSD3 SolidMask SplatToFile3D SplatToMesh SplitAudioChannels
SplitImageToTileList SplitImageWithAlpha SplitSigmas SplitSigmasDenoise StableCascade_EmptyLatentImage
StableCascade_StageB_Conditioning StableCascade_StageC_VAEEncode StableCascade_SuperResolutionControlnet
StableZero123_Conditioning StableZero123_Conditioning_Batched StringCompare StringConcatenate
StringContains StringFormat StringLength StringReplace StringSubstring StringTrim StripWhitespace
StyleModelApply StyleModelLoader T5TokenizerOptions TCFG TemporalScoreRescaling TextEncodeAceStepAudio
TextEncodeAceStepAudio1.5 TextEncodeBooguEdit TextEncodeHunyuanVideo_ImageToVideo TextEncodeJoyImageEdit
TextEncodeMageFlowEdit TextEncodeQwenImageEdit TextEncodeQwenImageEditPlus TextEncodeZImageOmni
TextGenerate TextGenerateLTX2Prompt TextOverlay TextToLowercase TextToUppercase ThresholdMask
TomePatchModel TorchCompileModel TransformSplat Trellis2Conditioning Trellis2ShapeStage
Trellis2TextureStage Trellis2UpsampleStage TrimAudioDuration TrimVideoLatent TripleCLIPLoader
TripoSplatConditioning TripoSplatPreprocessImage TripoSplatSamplingPreview TruncateText UNETLoader
UNetCrossAttentionMultiply UNetSelfAttentionMultiply UNetTemporalAttentionMultiply USOStyleReference
UnwrapMesh UpscaleModelLoader VAEDecode VAEDecodeAudio VAEDecodeAudioTiled VAEDecodeHunyuan3D
VAEDecodeTiled VAEDecodeTripoSplat VAEEncode VAEEncodeAudio VAEEncodeForInpaint VAEEncodeTiled VAELoader
VOIDInpaintConditioning VOIDQuadmaskPreprocess VOIDSampler VOIDWarpedNoise VOIDWarpedNoiseSource
VPScheduler VaeDecodeShapeTrellis VaeDecodeStructureTrellis2 VaeDecodeTextureTrellis VideoFrameSample
VideoLinearCFGGuidance VideoRandomTemporalCrop VideoTemporalCrop VideoTriangleCFGGuidance VoxelToMesh
VoxelToMeshBasic Wan22FunControlToVideo Wan22ImageToVideoLatent WanAnimate2Cache WanAnimate2ToVideo
WanAnimateToVideo WanCameraEmbedding WanCameraImageToVideo WanContextWindowsManual WanDancerEncodeAudio
WanDancerPadKeyframes WanDancerPadKeyframesList WanDancerVideo WanFirstLastFrameToVideo
WanFunControlToVideo WanFunInpaintToVideo WanHuMoImageToVideo WanImageToVideo WanInfiniteTalkToVideo
WanMoveConcatTrack WanMoveTrackToVideo WanMoveTracksFromCoords WanMoveVisualizeTracks
WanPhantomSubjectToVideo WanSCAILToVideo WanSoundImageToVideo WanSoundImageToVideoExtend WanTrackToVideo
WanUni3CControlnetApply WanVaceToVideo WeldVertices ZImageFunControlnet unCLIPCheckpointLoader
unCLIPConditioning wanBlockSwap
"""
STOCK = frozenset(_NAMES.split()) | {"Epsilon Scaling", "Video Slice"}

# Nodes that take a whole list at once; all others run once for each item of a list they are fed.
TAKES_LISTS = frozenset(
    {
        "CreateList",
        "ImageDeduplication",
        "ImageGrid",
        "ImageMergeTileList",
        "MergeImageLists",
        "MergeTextLists",
        "RebatchImages",
        "RebatchLatents",
        "SeedVR2TemporalMerge",
        "ShuffleDataset",
        "ShuffleImageTextDataset",
        "ShuffleVideoDataset",
        "ShuffleVideoTextDataset",
    }
)
