// msgpackr reads strings with a native addon if it has one for the platform, and without it elsewhere.
// To be imported before anything that imports msgpackr.
process.env['MSGPACKR_NATIVE_ACCELERATION_DISABLED'] = 'true';
